# tcl_threads.tcl - messages to threads, shared variables, a pool, a condition.
#
#   tclsh tcl_threads.tcl LAPS

package require Thread
set laps [lindex $argv 0]

tsv::set sum all 0
for {set i 0} {$i < 16} {incr i} {
    lappend threads [thread::create {
        proc work {k laps} {
            set s $k
            for {set i 0} {$i < $laps} {incr i} {
                set s [expr {($s * 31 + $i) % 1000003}]
            }
            tsv::incr sum all $s
            return $s
        }
        thread::wait
    }]
}
set i 0
foreach t $threads {
    thread::send -async $t [list work $i $laps] result($i)
    incr i
}
for {set i 0} {$i < 16} {incr i} {
    if {![info exists result($i)]} { vwait result($i) }
    puts "thread $i: $result($i)"
}
puts "sum [tsv::get sum all]"
foreach t $threads { thread::release $t }

set pool [tpool::create -minworkers 4 -maxworkers 8]
for {set i 0} {$i < 100} {incr i} { lappend jobs [tpool::post $pool "expr {$i * $i}"] }
set squares 0
foreach job $jobs {
    tpool::wait $pool $job
    incr squares [tpool::get $pool $job]
}
tpool::release $pool
puts "pool $squares"

set m [thread::mutex create]
set c [thread::cond create]
set waits {{m c} {
    thread::mutex lock $m
    while {![tsv::exists go now]} { thread::cond wait $c $m 1000 }
    thread::mutex unlock $m
}}
set t [thread::create -joinable [list apply $waits $m $c]]
after 20
thread::mutex lock $m
tsv::set go now 1
thread::cond notify $c
thread::mutex unlock $m
thread::join $t
puts "joined"
