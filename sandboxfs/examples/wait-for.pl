#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# Starts a server in a box and returns as soon as it has said a certain line. It goes on running.
#
#   wait-for.pl BOX PATTERN COMMAND        wait-for.pl alice 'listening on \d+' 'node server.js'
use strict;
use warnings;
use autodie;

my ($box, $pattern, $command) = @ARGV;
mkdir $box unless -d $box;

# A run of its own. Opened for both, procs/new answers with the run's number.
open my $new, '+<', "$box/procs/new";
syswrite $new, "exec 2>&1\n$command\n";
sysread $new, my $number, 20 or die "it was not started, see $box/why: $!\n";
close $new;
chomp $number;

# Waiting is reading. The stream ends when nothing of the run can write any more.
local $SIG{ALRM} = sub { die "a minute has passed, and no line has it; see $box/procs/$number\n" };
alarm 60;
open my $out, '<', "$box/procs/$number/out";
while (my $line = <$out>) {
    print $line;
    if ($line =~ /$pattern/) {
        print "ready: run $number; to end it: echo TERM > $box/procs/$number/signal\n";
        exit 0;
    }
}
open my $exit, '<', "$box/procs/$number/exit";
die "it has ended with ", <$exit>;
