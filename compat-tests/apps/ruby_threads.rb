# ruby_threads.rb - Ruby: threads under the VM's lock, its timer thread, blocking regions,
# Ractors, child processes, and a timeout that interrupts a thread.
#
#   ruby ruby_threads.rb THREADS LAPS

require 'socket'
require 'timeout'
require 'digest/md5' # not by threads, at first use: Ruby's own race

n, laps = ARGV.map(&:to_i)
queue = Queue.new
done = SizedQueue.new(3)
lock = Mutex.new
count = 0

workers = n.times.map do
  Thread.new do
    sum = 0
    while (i = queue.pop)
      sum += Digest::MD5.hexdigest(i.to_s).hex % 1000
      lock.synchronize { count += 1 }
      done << i if (i % 100).zero?
    end
    sum
  end
end
laps.times { |i| queue << i }
((laps + 99) / 100).times { done.pop }
n.times { queue << nil }
puts "sum #{workers.sum(&:value)} count #{count}"

server = TCPServer.new('127.0.0.1', 0)
echo = Thread.new do
  loop { Thread.new(server.accept) { |s| while (l = s.gets) do s.write(l.upcase) end } }
end
clients = 20.times.map do |i|
  Thread.new do
    s = TCPSocket.new('127.0.0.1', server.addr[1])
    20.times.map { |k| s.puts("line #{i} #{k}"); s.gets }.all? { |l| l.start_with?('LINE') }
  end
end
puts "echo #{clients.all?(&:value)}"
echo.kill.join

puts "children #{8.times.map { |i| Thread.new { `echo #{i}`.to_i } }.sum(&:value)}"
begin
  Timeout.timeout(0.05) { loop { sleep 0.001 } }
rescue Timeout::Error
  puts 'timeout'
end
begin
  Timeout.timeout(0.05) { loop { } }
rescue Timeout::Error
  puts 'timeout of a busy loop'
end
$VERBOSE = nil
puts "ractors #{4.times.map { |i| Ractor.new(i) { |k| (1..20_000).sum * k } }.sum(&:take)}"
