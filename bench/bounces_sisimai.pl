# Times Sisimai over a folder of messages: prints the CPU seconds of one pass.
use strict;
use warnings;
use Sisimai;

my @files = sort glob("$ARGV[0]/*.eml");
Sisimai->make($files[0]);    # loads what is loaded once
my ($user, $system) = times;
Sisimai->make($_) for @files;
my ($later, $after) = times;
printf "%.4f\n", $later + $after - $user - $system;
