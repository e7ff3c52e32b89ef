package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A protocol is how requests travel.
type protocol string

const (
	http1  protocol = "HTTP/1.1 keep-alive"
	https2 protocol = "HTTPS with HTTP/2"
)

func (p protocol) scheme() string {
	if p == https2 {
		return "https"
	}
	return "http"
}

// short is the protocol's name for programs.
func (p protocol) short() string {
	if p == https2 {
		return "h2"
	}
	return "h1"
}

// A burst is some load of one kind of request.
type burst struct {
	protocol    protocol
	kind        benchKind
	connections int
	length      time.Duration
	word        string  // that no other burst has
	rate        float64 // requests a second, or 0 for as many as go
}

// A result is what the load generator saw. All its connections together have one request under way
// each at any time, so as many more than it counted were handled by the server in the end.
type result struct {
	requests        float64
	throughput      float64 // requests a second
	p50, p99, p999  float64 // milliseconds
	completed       []time.Time
	underWay, wrong float64
	firstWrong      int // status
}

// since is how many requests the server handled from a moment on, to the end.
func (r *result) since(t time.Time) float64 {
	if r.completed == nil {
		return r.requests + r.underWay
	}
	return r.between(t, time.Now()) + r.underWay
}

// between is how many were answered in a span of time.
func (r *result) between(from, to time.Time) (n float64) {
	for _, at := range r.completed {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// A generator makes load with the tools for it, on processors of its own.
type generator struct {
	server     *benchServer
	processors []int
}

// benchTools are the programs it takes, with the packages of Debian that have them.
var benchTools = map[string]string{"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}

// missingTools names the packages of what is not installed.
func missingTools() (packages []string) {
	for tool, of := range benchTools {
		if _, err := exec.LookPath(tool); err != nil {
			packages = append(packages, of)
		}
	}
	return packages
}

// pinned is what a command line begins with to run on some processors only.
func pinned(processors []int) []string {
	if len(processors) == 0 {
		return nil
	}
	return []string{"taskset", "-c", join(processors)}
}

func join(numbers []int) string {
	var words []string
	for _, n := range numbers {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ",")
}

// threads is how many a generator uses: a power of two, so that connections divide evenly.
func (g *generator) threads(connections int) int {
	return 1 << (bits.Len(uint(min(connections, max(1, len(g.processors))))) - 1)
}

// A span is told when the load begins and ends that counts. Where no end is told, everything counts
// that the server did from the beginning on.
type span struct{ begun, ended func() error }

// run loads the server.
func (g *generator) run(l burst, counts span) (*result, error) {
	run := g.wrk
	if l.protocol == https2 {
		run = g.h2load
	}
	r, err := run(l, counts)
	if err != nil {
		return nil, fmt.Errorf("%s, %d connections, %s: %w", l.protocol, l.connections, l.kind.name, err)
	}
	if r.wrong > 0 {
		return nil, fmt.Errorf("%s, %d connections, %s: %.0f answers had not the status %d, the first had %d",
			l.protocol, l.connections, l.kind.name, r.wrong, l.kind.status, r.firstWrong)
	}
	if r.requests == 0 {
		return nil, fmt.Errorf("%s, %d connections, %s: nothing was answered", l.protocol, l.connections, l.kind.name)
	}
	r.underWay = float64(l.connections)
	return r, nil
}

// wrk opens its connections when the time is running already: they are part of the figures.
func (g *generator) wrk(l burst, counts span) (*result, error) {
	if err := counts.begun(); err != nil {
		return nil, err
	}
	args := append(pinned(g.processors), "wrk",
		"-t", strconv.Itoa(g.threads(l.connections)), "-c", strconv.Itoa(l.connections),
		"-d", strconv.Itoa(max(1, int(l.length/time.Second)))+"s", "--timeout", "30s",
		"-H", "User-Agent: "+browser, "-s", filepath.Join("testdata", "bench.lua"),
		g.server.url(l.protocol, l.kind), "--", strconv.Itoa(l.kind.status), l.kind.target)
	if strings.Contains(l.kind.target, "{id}") {
		args = append(args, g.server.list, l.word)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return parseWrk(string(out))
}

// h2load opens its connections in its warm-up, and says when that is over. Its log has every request
// from then on. In the end it resets what is under way, so that time does not count.
func (g *generator) h2load(l burst, counts span) (*result, error) {
	targets, err := g.server.targets(g.server.url(l.protocol, l.kind), l.kind)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(g.server.dir, "h2load.log")
	if err := os.Remove(log); err != nil && !os.IsNotExist(err) {
		return nil, err // it would be appended to
	}
	warmUp := 500 * time.Millisecond
	if l.connections > 100 {
		warmUp = 2500 * time.Millisecond // so many handshakes take their time
	}
	threads := g.threads(l.connections)
	args := append(pinned(g.processors), "h2load", "-t", strconv.Itoa(threads),
		"-c", strconv.Itoa(l.connections), "-m", "1", "-D", strconv.Itoa(max(1, int(l.length/time.Second))),
		"--warm-up-time", strconv.Itoa(int(warmUp/time.Millisecond))+"ms", "-i", targets, "--log-file", log,
		"-H", "user-agent: "+browser)
	out, err := watch(args,
		&cue{words: "Main benchmark duration is started", times: threads, do: counts.begun},
		&cue{words: "Main benchmark duration is over", times: 1, do: counts.ended})
	if err != nil {
		return nil, err
	}
	if err := checkH2load(out); err != nil {
		return nil, err
	}
	f, err := os.Open(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseH2load(f, l.kind.status, l.connections)
}

// A cue is something to do when a command has said some words so many times.
type cue struct {
	words string
	times int
	do    func() error
}

// watch runs a command and acts on what it says.
func watch(args []string, cues ...*cue) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var out strings.Builder
	var fault error
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		fmt.Fprintln(&out, lines.Text())
		for _, c := range cues {
			if !strings.Contains(lines.Text(), c.words) {
				continue
			}
			if c.times--; c.times == 0 {
				fault = errors.Join(fault, c.do())
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, &out, &complaint)
	}
	for _, c := range cues {
		if c.times > 0 {
			fault = errors.Join(fault, fmt.Errorf("%s never said %q:\n%s", args[0], c.words, &out))
		}
	}
	return out.String(), fault
}
