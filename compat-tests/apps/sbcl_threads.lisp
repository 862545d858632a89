;;; sbcl_threads.lisp - a wait queue, a semaphore, collections, interrupting and ending threads.
;;;
;;;   sbcl --script sbcl_threads.lisp LAPS

(defvar *laps* (parse-integer (second sb-ext:*posix-argv*)))
(defvar *lock* (sb-thread:make-mutex))
(defvar *queue* (sb-thread:make-waitqueue))
(defvar *done* 0)
(defvar *places* (sb-thread:make-semaphore))

(defmacro thread (&body body) `(sb-thread:make-thread (lambda () ,@body)))
(defun show (name value) (format t "~a ~a~%" name value))

;; Makes garbage, too.
(defun work (k)
  (let ((s 0))
    (dotimes (i *laps*) (setf s (mod (+ (* s 31) i k) 1000003)))
    (+ s (mod (reduce #'+ (loop for i below 20000 collect (* i k))) 1000))))

(let ((threads (loop for k below 16
                     collect (let ((k k))
                               (thread (let ((result (work k)))
                                         (sb-thread:with-mutex (*lock*)
                                           (incf *done*)
                                           (sb-thread:condition-broadcast *queue*))
                                         result))))))
  (sb-thread:with-mutex (*lock*)
    (loop until (= *done* 16) do (sb-thread:condition-wait *queue* *lock*)))
  (show "work" (mapcar #'sb-thread:join-thread threads)))

(let ((threads (loop repeat 8
                     collect (thread (dotimes (i 200) (sb-thread:wait-on-semaphore *places*))
                                     :done))))
  (dotimes (i 1600) (sb-thread:signal-semaphore *places*))
  (dotimes (i 3) (sb-ext:gc :full t))
  (show "semaphore" (mapcar #'sb-thread:join-thread threads)))

(let ((sleeper (thread (loop (sleep 0.01)))))
  (sleep 0.05)
  (sb-thread:terminate-thread sleeper)
  (show "terminated" (sb-thread:join-thread sleeper :default :killed)))
(let ((busy (thread (loop))))
  (sleep 0.02)
  (sb-thread:interrupt-thread busy #'sb-thread:abort-thread)
  (show "interrupted" (sb-thread:join-thread busy :default :aborted)))
(show "alarm" (handler-case (sb-ext:with-timeout 0.05 (loop)) (sb-ext:timeout () :timeout)))
