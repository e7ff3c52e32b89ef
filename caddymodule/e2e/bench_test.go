package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchSite has the yardsticks, redir and respond, beside what is measured against them.
const benchSite = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	redir /redir https://acme.example/offer?aff_sub=0123456789abcdefghijklmnop
	respond /respond "{\"outcome\":\"recorded\"}" 200
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	track_click /out/books {
		inject aff_sub
	}
	redir /out/books https://acme.example/offer?partner=42
	postback /postback
}
`

const (
	benchConnections = 64
	benchRounds      = 7
	benchSlice       = time.Second // of load, per kind and round
)

// A benchKind is one kind of request. Each gets a number of its own.
type benchKind struct {
	name   string
	status int
	target func(n int64) string
}

// A measurement is what one slice of load came to.
type measurement struct {
	cpu        float64 // of the server, in microseconds a request
	throughput float64 // requests a second
}

// BenchmarkServer measures kinds of requests in one server in turns, and prints how each compares
// with its yardstick. The figures are medians over the rounds of the ratios within each round:
// the server's processor time a request, and throughput. The load comes from this process and takes
// its share of the machine, which the processor time leaves out and throughput does not.
func BenchmarkServer(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("processor time is read from /proc")
	}
	s := startServer(b, benchSite)
	kinds := benchKinds(b, s)
	for b.Loop() {
		rounds := make(map[string][]measurement)
		for _, k := range kinds {
			s.measure(b, k) // warm up
		}
		for round := range benchRounds {
			order := slices.Clone(kinds)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, k := range order {
				rounds[k.name] = append(rounds[k.name], s.measure(b, k))
			}
		}
		ratios(b, rounds)
	}
	b.ReportMetric(0, "ns/op")
}

var yardsticks = []struct{ name, of string }{
	{"click", "redir"}, {"inject", "redir"}, {"postback", "respond"}, {"repeat", "respond"}, {"forged", "respond"},
}

func ratios(b *testing.B, rounds map[string][]measurement) {
	cpu := func(m measurement) float64 { return m.cpu }
	throughput := func(m measurement) float64 { return m.throughput }
	for _, y := range yardsticks {
		b.ReportMetric(medianRatio(rounds[y.name], rounds[y.of], cpu), y.name+"/"+y.of+"-cpu")
		b.ReportMetric(medianRatio(rounds[y.name], rounds[y.of], throughput), y.name+"/"+y.of+"-rps")
	}
	for name, all := range rounds {
		b.Logf("%-9s %6.1f us of processor time, %7.0f requests/s", name, median(all, cpu), median(all, throughput))
	}
}

func median(of []measurement, value func(measurement) float64) float64 {
	var values []float64
	for _, m := range of {
		values = append(values, value(m))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func medianRatio(of, to []measurement, value func(measurement) float64) float64 {
	var ratios []measurement
	for i := range of {
		ratios = append(ratios, measurement{cpu: value(of[i]) / value(to[i])})
	}
	return median(ratios, func(m measurement) float64 { return m.cpu })
}

func benchKinds(b *testing.B, s *server) []benchKind {
	fixed := func(target string) func(int64) string { return func(int64) string { return target } }
	var ids []string
	for range 2000 {
		ids = append(ids, s.click("/go/acme", "aff_sub"))
	}
	postback := func(id string, n int64) string {
		return "/postback?click_id=" + id + "&txid=order-" + strconv.FormatInt(n, 10) + "&payout=12.50&currency=USD"
	}
	if a := s.get(postback(ids[0], 0)); a.status != 200 {
		b.Fatalf("postback: status %d %s", a.status, a.body)
	}
	forged := []byte(ids[1])
	slices.Reverse(forged)
	return []benchKind{
		{"redir", 302, fixed("/redir")},
		{"click", 302, fixed("/go/acme?source=newsletter&sub1=banner&utm_campaign=spring")},
		{"inject", 302, fixed("/out/books?source=newsletter&sub1=banner&utm_campaign=spring")},
		{"respond", 200, fixed("/respond")},
		{"postback", 200, func(n int64) string { return postback(ids[n%int64(len(ids))], n) }},
		{"repeat", 200, fixed(postback(ids[0], 0))},
		{"forged", 400, fixed(postback(string(forged), 1))},
	}
}

var benchNumber atomic.Int64

// measure loads the server with one kind of request for a while.
func (s *server) measure(b *testing.B, k benchKind) measurement {
	b.Helper()
	var done atomic.Int64
	var stop atomic.Bool
	var workers sync.WaitGroup
	faults := make(chan error, benchConnections)
	begin, before := time.Now(), s.processorTime(b)
	for range benchConnections {
		workers.Go(func() {
			if err := s.hammer(k, &done, &stop); err != nil {
				faults <- fmt.Errorf("%s: %w", k.name, err)
			}
		})
	}
	time.Sleep(benchSlice)
	stop.Store(true)
	workers.Wait()
	took, used := time.Since(begin), s.processorTime(b)-before
	select {
	case err := <-faults:
		b.Fatal(err)
	default:
	}
	n := float64(done.Load())
	return measurement{cpu: used.Seconds() * 1e6 / n, throughput: n / took.Seconds()}
}

// hammer sends one request after the other on one connection. It reads no more of an answer than
// it must: the less this process does, the more there is for the server.
func (s *server) hammer(k benchKind, done *atomic.Int64, stop *atomic.Bool) error {
	conn, err := net.Dial("tcp", s.site())
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	status := fmt.Appendf(nil, "HTTP/1.1 %d ", k.status)
	for !stop.Load() {
		request := message(s.site(), "GET", k.target(benchNumber.Add(1)), "", nil)
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		if err := skipAnswer(r, status); err != nil {
			return err
		}
		done.Add(1)
	}
	return nil
}

func skipAnswer(r *bufio.Reader, status []byte) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, status) {
		return fmt.Errorf("answered %q", line)
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err = r.Discard(length)
	return err
}

// processorTime is what the server's process has used so far, in user and system mode.
func (s *server) processorTime(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid()))
	if err != nil {
		b.Fatal(err)
	}
	// Behind the name, which may hold anything, the eleventh and twelfth fields are the ticks.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / time.Duration(ticksPerSecond())
}

var ticksPerSecond = sync.OnceValue(func() int {
	out, err := exec.Command("getconf", "CLK_TCK").Output()
	if n, err2 := strconv.Atoi(strings.TrimSpace(string(out))); err == nil && err2 == nil && n > 0 {
		return n
	}
	return 100
})
