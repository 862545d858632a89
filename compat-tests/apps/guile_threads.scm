;; guile_threads.scm - parallel maps, futures, a condition, cancelling, collecting.
;;
;;   guile guile_threads.scm LAPS

(use-modules (ice-9 threads) (ice-9 futures) (srfi srfi-1))

(define laps (string->number (cadr (command-line))))
(define (work k)
  (let loop ((i 0) (s k))
    (if (= i laps) s (loop (+ i 1) (modulo (+ (* s 31) i) 1000003)))))
(define (show name value) (display name) (display " ") (display value) (newline))

(show "par-map" (par-map work (iota 16)))
(show "n-par-map" (n-par-map 6 work (iota 16)))
(show "futures" (map touch (map (lambda (k) (future (work k))) (iota 16))))

(define m (make-mutex))
(define more (make-condition-variable))
(define n 0)
(define (count k)
  (do ((i 0 (+ i 1))) ((= i 100))
    (with-mutex m (set! n (+ n 1)) (signal-condition-variable more))
    (usleep 100))
  k)
(define counters (map (lambda (k) (call-with-new-thread (lambda () (count k)))) (iota 12)))
(with-mutex m
  (while (< n 1200) (wait-condition-variable more m (+ (current-time) 5))))
(show "counted" (cons n (map join-thread counters)))

(define endless (call-with-new-thread (lambda () (while #t (usleep 1000)))))
(cancel-thread endless)
(join-thread endless)
(gc)
(show "lists" (fold + 0 (par-map (lambda (k) (length (iota (* 1000 k)))) (iota 50))))
