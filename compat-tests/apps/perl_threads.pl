# perl_threads.pl - Perl's ithreads: each clones the whole interpreter.
#
#   perl perl_threads.pl THREADS LAPS

use strict;
use warnings;
use threads;
use threads::shared;
use Thread::Queue;
use Thread::Semaphore;

my ($n, $laps) = @ARGV;
my $count :shared = 0;
my %seen :shared;
my $queue = Thread::Queue->new;
my $places = Thread::Semaphore->new(3);
my @data = map { { key => $_, text => 'x' x ($_ % 50) } } 1 .. 500; # cloned each time

sub work {
    my ($me) = @_;
    my $sum = 0;
    while (defined(my $item = $queue->dequeue)) {
        $places->down;
        $sum += $item * length($data[$item % 500]{text});
        $places->up;
        lock($count);
        $count++;
        cond_broadcast($count);
    }
    { lock(%seen); $seen{$me} = 1; }
    return $sum;
}

my @threads = map { threads->create(\&work, $_) } 1 .. $n;
$queue->enqueue($_) for 1 .. $laps;
{
    lock($count);
    while ($count < $laps) { cond_wait($count); }
}
$queue->end;
my $sum = 0;
$sum += $_->join for @threads;
print "count $count sum $sum threads ", scalar(keys %seen), "\n";

my $ready :shared = 0;
my $caught = threads->create(sub {
    $SIG{KILL} = sub { threads->exit(7) };
    { lock($ready); $ready = 1; cond_signal($ready); }
    select(undef, undef, undef, 0.01) while 1;
});
{ lock($ready); while (!$ready) { cond_wait($ready); } }
$caught->kill('KILL');
print "killed: ", $caught->join, "\n";
threads->create(sub { eval { die "inside\n" }; print "died: $@"; })->join;
print "output of a child: ", `echo hello`;
