(* ocaml_threads.ml - a queue under a mutex and a condition, channels, a pipe, fork.

     ocaml_threads ITEMS *)

let items = int_of_string Sys.argv.(1)
let m = Mutex.create ()
let nonempty = Condition.create ()
let queue = Queue.create ()
let sum = ref 0
let rec fib n = if n < 2 then n else fib (n - 1) + fib (n - 2)

let locked f =
  Mutex.lock m;
  let r = f () in
  Mutex.unlock m;
  r

let take () =
  locked (fun () ->
      while Queue.is_empty queue do
        Condition.wait nonempty m
      done;
      Queue.pop queue)

let rec consume () =
  let x = take () in
  if x >= 0 then begin
    let f = fib (10 + (x mod 8)) in
    locked (fun () -> sum := !sum + f);
    consume ()
  end

let produce k =
  for i = 1 to items do
    locked (fun () ->
        Queue.push ((i * 7) + k) queue;
        Condition.signal nonempty);
    if i mod 50 = 0 then Thread.delay 0.001;
    if i mod 20 = 0 then Thread.yield ()
  done

let () =
  let consumers = List.init 16 (fun _ -> Thread.create consume ()) in
  List.iter Thread.join (List.init 8 (Thread.create produce));
  locked (fun () ->
      for _ = 1 to 16 do
        Queue.push (-1) queue
      done;
      Condition.broadcast nonempty);
  List.iter Thread.join consumers;
  Printf.printf "queue %d\n" !sum

let () =
  let channel = Event.new_channel () in
  let send i = for j = 1 to 50 do Event.sync (Event.send channel (i * j)) done in
  let senders = List.init 10 (Thread.create send) in
  let s = ref 0 in
  for _ = 1 to 500 do
    s := !s + Event.sync (Event.receive channel)
  done;
  List.iter Thread.join senders;
  Printf.printf "channel %d\n" !s

let () =
  let r, w = Unix.pipe () in
  let bytes = ref 0 in
  let b = Bytes.create 100 in
  let rec drain () =
    let n = Unix.read r b 0 100 in
    bytes := !bytes + n;
    if n > 0 then drain ()
  in
  let reader = Thread.create drain () in
  for i = 1 to 100 do
    ignore (Unix.write w (Bytes.make i 'x') 0 i)
  done;
  Unix.close w;
  Thread.join reader;
  Printf.printf "pipe %d\n%!" !bytes

let () =
  match Unix.fork () with
  | 0 ->
      Thread.join (Thread.create print_endline "thread of a child");
      exit 0
  | pid -> ignore (Unix.waitpid [] pid)
