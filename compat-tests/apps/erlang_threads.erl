%% erlang_threads.erl - processes in a ring, at work, on files and on sockets; a child program.
-module(erlang_threads).
-export([main/1]).

pass(To) -> receive Message -> To ! Message, pass(To) end.

ring(0, To) -> pass(To);
ring(N, To) -> pass(spawn(fun() -> ring(N - 1, To) end)).

work(Seed) ->
    lists:foldl(fun(X, A) -> (A * 31 + X) rem 1000003 end, Seed, lists:seq(1, 5000)).

file(I) ->
    Name = "f" ++ integer_to_list(I),
    ok = file:write_file(Name, binary:copy(<<I:32>>, 10000)),
    {ok, Read} = file:read_file(Name),
    ok = file:delete(Name),
    erlang:crc32(Read).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    spawn(fun() -> accept(Listen) end),
    echo(Socket).

echo(Socket) ->
    case gen_tcp:recv(Socket, 4) of
        {ok, Bytes} -> gen_tcp:send(Socket, Bytes), echo(Socket);
        _ -> ok
    end.

talk(Port) ->
    {ok, S} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
    lists:sum([begin
                   ok = gen_tcp:send(S, <<J:32>>),
                   {ok, <<Answer:32>>} = gen_tcp:recv(S, 4),
                   Answer
               end || J <- lists:seq(1, 20)]).

%% The results of F for 1 to N, each in a process of its own.
all(N, F) ->
    Started = [spawn_monitor(fun() -> exit({done, F(I)}) end) || I <- lists:seq(1, N)],
    [receive {'DOWN', Ref, process, Pid, {done, Value}} -> Value end || {Pid, Ref} <- Started].

main([Arg]) ->
    N = list_to_integer(Arg),
    Self = self(),
    Ring = spawn(fun() -> ring(500, Self) end),
    [Ring ! I || I <- lists:seq(1, 20)],
    io:format("ring ~p~n", [[receive I -> I end || I <- lists:seq(1, 20)]]),
    io:format("work ~p~n", [erlang:phash2(all(N, fun work/1))]),
    io:format("files ~p~n", [erlang:phash2(all(50, fun file/1))]),
    {ok, Listen} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}},
                                      {backlog, 100}]),
    {ok, Port} = inet:port(Listen),
    spawn(fun() -> accept(Listen) end),
    io:format("sockets ~p~n", [lists:sum(all(50, fun(_) -> talk(Port) end))]),
    io:format("child ~s", [os:cmd("echo hello")]),
    halt(0).
