#!/usr/bin/perl
# http-server.pl: serves a folder to the tests of the downloads, and misbehaves on demand.
#
#     http-server.pl DIR PORT-FILE LOG      on 127.0.0.1, for two minutes at most
#
# A path is /MODE/ARGUMENT/file or /MODE/file or /file:
#     cut/N       closes the connection after N bytes of the body
#     norange     knows no Range and sends all
#     flaky/N     answers 500 the first N times that a path is asked for
#     wrong       other bytes of the same length
#     slow        a hundredth of the file at a time
#     hang/N      sends N bytes and then nothing, the first time
#     silent      says neither length nor sum, and sends half
# and of a model, OWNER/MODEL/resolve/REVISION/file, whose weights it sends from another host as
# Hugging Face does: `gated` owns models that want the token "secret", `plain` tells no sums, `huge`
# says that weights are far too large, and what `old` had is with `org` now.
use strict;
use warnings;
use Digest::SHA qw(sha1_hex sha256_hex);
use IO::Handle;
use IO::Socket::INET;

my ($dir, $port_file, $log) = @ARGV;
my $commit = 'c0ffee' x 6 . 'abcd';
my %asked;
$SIG{PIPE} = 'IGNORE';
alarm 120;
open my $log_out, '>>', $log or die "http-server: $log: $!\n";
$log_out->autoflush(1);
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 16, ReuseAddr => 1)
    or die "http-server: $!\n";
my $port = $server->sockport;
open my $out, '>', "$port_file.new" or die "http-server: $!\n";
print $out "$port\n";
close $out;
rename "$port_file.new", $port_file;

sub content {
    my ($path) = @_;
    return undef if $path =~ /\.\./;
    open my $in, '<:raw', "$dir/$path" or return undef;
    return undef if -d $in;
    local $/;
    return scalar <$in> // '';
}

sub answer {
    my ($client, $code, %headers) = @_;
    my $head = "HTTP/1.1 $code Said\r\nConnection: close\r\n";
    $head .= "$_: $headers{$_}\r\n" for sort keys %headers;
    print $client "$head\r\n";
}

# The headers of a model's file, or nothing where the answer was given already.
sub model_headers {
    my ($client, $prefix, $path, $in) = @_;
    my ($owner, $model, $revision, $file) = $path =~ m{^([^/]+)/([^/]+)/resolve/([^/]+)/(.+)$};
    my @not = ('Content-Length' => 0, 'X-Error-Code');
    if ($owner eq 'gated' && ($in->{authorization} // '') ne 'Bearer secret') {
        answer($client, $in->{authorization} ? 403 : 401, @not, 'GatedRepo');
    } elsif ($owner eq 'old') {
        answer($client, 307, 'Content-Length' => 0, Location => "/${prefix}org/$model/resolve/$revision/$file");
    } elsif (!-d "$dir/$owner/$model") {
        answer($client, 404, @not, 'RepoNotFound');
    } elsif ($revision ne 'main' && $revision ne $commit) {
        answer($client, 404, @not, 'RevisionNotFound');
    } elsif (!defined(my $body = content("$owner/$model/$file"))) {
        answer($client, 404, @not, 'EntryNotFound');
    } else {
        my %h = ('X-Repo-Commit' => $commit);
        my $large = $file =~ /\.safetensors$/;
        $h{ETag} = '"' . sha1_hex('blob ' . length($body) . "\0" . $body) . '"' unless $large || $owner eq 'plain';
        return { path => "$owner/$model/$file", headers => \%h } unless $large;
        $h{'X-Linked-Size'} = $owner eq 'huge' ? 10**15 : length $body unless $owner eq 'plain';
        $h{'X-Linked-ETag'} = '"' . ($owner eq 'plain' ? 'unknown' : sha256_hex($body)) . '"';
        answer($client, 302, %h, 'Content-Length' => 0,
            Location => "http://localhost:$port/$prefix$owner/$model/$file");
    }
    return undef;
}

sub serve {
    my ($client) = @_;
    my ($method, $path) = (<$client> // '') =~ m{^(GET|HEAD) /(\S*) HTTP/1} or return;
    my %in;
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?$/;
        $in{ lc $1 } = $2 if $line =~ /^([^:]+):\s*(.*?)\r?$/;
    }
    print $log_out join(' ', $method, "/$path", $in{range} // '-', $in{host}, $in{authorization} // '-'), "\n";
    my ($prefix, $mode, $n) = ('', '', 0);
    if ($path =~ s{^((cut|flaky|hang)/(\d+)/)}{}) { ($prefix, $mode, $n) = ($1, $2, $3) }
    elsif ($path =~ s{^((norange|wrong|slow|silent)/)}{}) { ($prefix, $mode) = ($1, $2) }
    my $times = $asked{"$method $prefix$path"}++;
    return answer($client, 500, 'Content-Length' => 0) if $mode eq 'flaky' && $times < $n;
    my $headers = {};
    if ($path =~ m{/resolve/}) {
        my $model = model_headers($client, $prefix, $path, \%in) or return;
        ($path, $headers) = @$model{qw(path headers)};
    }
    my $body = content($path);
    return answer($client, 404, 'Content-Length' => 0) unless defined $body;
    $body =~ tr/a-zA-Z/b-zaB-ZA/ if $mode eq 'wrong';
    my ($code, $from) = (200, 0);
    if ($mode ne 'norange' && ($in{range} // '') =~ /^bytes=(\d+)-$/) {
        return answer($client, 416, 'Content-Length' => 0) if $1 >= length $body;
        ($code, $from) = (206, $1);
        $headers->{'Content-Range'} = "bytes $from-" . (length($body) - 1) . '/' . length $body;
    }
    my $part = substr $body, $from;
    $headers->{'Content-Length'} = length $part unless $mode eq 'silent';
    answer($client, $code, %$headers);
    return if $method eq 'HEAD';
    $part = substr $part, 0, length($part) / 2 if $mode eq 'silent';
    $part = substr $part, 0, $n if $mode eq 'cut' || $mode eq 'hang' && !$times;
    my $step = $mode eq 'slow' ? 1 + int(length($part) / 100) : 1 + length $part;
    for (my $at = 0; $at < length $part; $at += $step) {
        print $client substr $part, $at, $step;
        $client->flush;
        select undef, undef, undef, 0.005 if $mode eq 'slow';
    }
    # Till the other side has had enough.
    if ($mode eq 'hang' && !$times) { my $rest = <$client> }
}

while (my $client = $server->accept) {
    serve($client);
    close $client;
}
