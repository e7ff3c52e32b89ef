package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// This file runs a whole Caddy inside the test. There is one per process, so
// tests that use it are not parallel.

// site is a Caddy with one plain HTTP site on a free port of the loopback.
type site struct {
	t    testing.TB
	addr string
	dir  string
	// conf is put into the global options.
	conf string
}

func newSite(t testing.TB) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &site{t: t, addr: l.Addr().String(), dir: t.TempDir()}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return s
}

// caddyfile puts the global option capture and a site's directives into a
// whole Caddyfile.
func (s *site) caddyfile(option, directives string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	storage file_system %s
	%s
	%s
}
http://%s {
	bind 127.0.0.1
	%s
	respond "the site" 200
}
`, filepath.Join(s.dir, "caddy"), s.conf, option, s.addr, directives)
}

func (s *site) load(option, directives string) {
	s.t.Helper()
	if err := s.tryLoad(option, directives); err != nil {
		s.t.Fatalf("loading: %v", err)
	}
}

func (s *site) tryLoad(option, directives string) error {
	s.t.Helper()
	cfg, err := adapt(s.caddyfile(option, directives))
	if err != nil {
		return err
	}
	return loadAlone(s.t, cfg, s.addr)
}

// loadAlone loads a configuration, and waits until nobody else listens at the
// addresses any more: Caddy closes the listeners from before in the background,
// and as ports are shared they may be given a request until then.
func loadAlone(t testing.TB, cfg []byte, addrs ...string) error {
	t.Helper()
	err := caddy.Load(cfg, true)
	for _, addr := range addrs {
		eventually(t, "one listener alone is at "+addr, func() bool {
			return caddy.ListenerUsage("tcp", addr) <= 1 && listening(t, addr) <= 1
		})
	}
	return err
}

// listening counts the sockets that listen at an address of IPv4, as Caddy's own
// count goes down before the socket is closed. Elsewhere than on Linux it is 0.
func listening(t testing.TB, addr string) (n int) {
	t.Helper()
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Error(err)
		return 0
	}
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return 0
	}
	defer f.Close()
	ip := at.Addr().As4()
	want := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), at.Port())
	lines := bufio.NewScanner(f)
	for lines.Scan() { // number, local address, remote address, state; those that listen come first
		switch fields := strings.Fields(lines.Text()); {
		case len(fields) < 4 || fields[0] == "sl":
		case fields[3] != "0A":
			return n
		case fields[1] == want:
			n++
		}
	}
	return n
}

func (s *site) url(path string) string { return "http://" + s.addr + path }

// get returns the status, header and body of an answer.
func (s *site) get(path string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.url(path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(req)
}

func (s *site) do(req *http.Request) (*http.Response, string) {
	s.t.Helper()
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

var client = &http.Client{
	Timeout:       20 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     asksAgain{impatient},
}

var impatient = &http.Transport{DisableKeepAlives: true}

// asksAgain sends a request once more whose connection was reset or closed: Caddy
// does so with a few when it reloads, before it has read anything of them.
type asksAgain struct{ once http.RoundTripper }

func (a asksAgain) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := a.once.RoundTrip(req)
	for n := 0; n < 3 && unread(err); n++ {
		if req.Body != nil && req.Body != http.NoBody {
			if req.GetBody == nil {
				break
			}
			body, bodyErr := req.GetBody()
			if bodyErr != nil {
				return nil, bodyErr
			}
			req = req.Clone(req.Context())
			req.Body = body
		}
		res, err = a.once.RoundTrip(req)
	}
	return res, err
}

// unread tells of errors of a connection that ended.
func unread(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		err != nil && strings.Contains(err.Error(), "http: server closed idle connection")
}

// adapt makes JSON of a Caddyfile.
func adapt(text string) ([]byte, error) {
	cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return cfg, err
}

// runningApp returns the app of the configuration that runs.
func runningApp(t testing.TB) *App {
	t.Helper()
	app, err := caddy.ActiveContext().App("capture")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App)
}

// click records a click and returns its ID.
func click(t testing.TB, campaign string, flags capture.ClickFlags) string {
	t.Helper()
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	c := &capture.Click{Time: time.Now(), Campaign: campaign, Flags: flags, Destination: "https://acme.example/"}
	if got := held.ledger.Wait(held.ledger.Record(c), 10*time.Second); got != capture.SavedOnDisk {
		t.Fatalf("the click was not saved: %v", got)
	}
	return held.codec().Encode(c.Ref)
}

// reported counts the conversions that a report finds.
func reported(t testing.TB) int64 {
	t.Helper()
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	report, err := held.ledger.Report(t.Context(), attribution.Query{
		From: time.Now().Add(-48 * time.Hour), To: time.Now().Add(48 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return report.Total.Conversions
}

// memory is a store in memory for tests, as a module: `store memory <name>`.
type memory struct {
	Name string `json:"name"`
}

func init() { caddy.RegisterModule(memory{}) }

func (memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "capture.stores.memory", New: func() caddy.Module { return new(memory) }}
}

func (m *memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&m.Name) {
		return d.ArgErr()
	}
	return nil
}

func (m *memory) Engine(logger *zap.Logger) capture.Engine {
	return memoryEngine{Engine: memoryAt(m.Name).Engine, place: memoryAt(m.Name), logger: logger}
}

// memoryPlace is a place in memory that notes what is done with it.
type memoryPlace struct {
	*memstore.Engine
	opens, closes atomic.Int64
	logger        atomic.Pointer[zap.Logger] // of the engine that opened it last
}

var places struct {
	sync.Mutex
	m map[string]*memoryPlace
}

func memoryAt(name string) *memoryPlace {
	places.Lock()
	defer places.Unlock()
	if places.m == nil {
		places.m = make(map[string]*memoryPlace)
	}
	if places.m[name] == nil {
		places.m[name] = &memoryPlace{Engine: memstore.New()}
	}
	return places.m[name]
}

func (p *memoryPlace) want(t testing.TB, opens, closes int64) {
	t.Helper()
	if o, c := p.opens.Load(), p.closes.Load(); o != opens || c != closes {
		t.Errorf("the store was opened %d times and closed %d times; want %d and %d", o, c, opens, closes)
	}
}

type memoryEngine struct {
	*memstore.Engine
	place  *memoryPlace
	logger *zap.Logger
}

func (e memoryEngine) Open(ctx context.Context) (capture.Store, error) {
	store, err := e.Engine.Open(ctx)
	if err != nil {
		return nil, err
	}
	e.place.opens.Add(1)
	e.place.logger.Store(e.logger)
	return memoryStore{store, e.place}, nil
}

type memoryStore struct {
	capture.Store
	place *memoryPlace
}

func (s memoryStore) Close(next uint64) error {
	s.place.closes.Add(1)
	return s.Store.Close(next)
}

// memoryOption is a global option with a store in memory of its own.
func memoryOption(t testing.TB) (string, *memoryPlace) {
	name := newPlace(t, "")
	return "capture {\n store memory " + name + "\n}", memoryAt(name)
}

// newPlace names a place in memory after the test, and empties it.
func newPlace(t testing.TB, suffix string) string {
	name := t.Name() + suffix
	places.Lock()
	defer places.Unlock()
	delete(places.m, name) // of a run before, with -count
	return name
}

// prettyJSON writes JSON for people, with the members in order.
func prettyJSON(t testing.TB, data []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// wantJSON compares two JSON texts by what they mean.
func wantJSON(t testing.TB, got, want []byte) {
	t.Helper()
	if g, w := prettyJSON(t, got), prettyJSON(t, want); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Errorf("did not happen in time: %s", what)
}

// noFiles fails if there is anything at path.
func noFiles(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("%s was made", path)
	}
}

// goroutines counts goroutines when they have settled.
func goroutines() int {
	n := runtime.NumGoroutine()
	for range 50 {
		time.Sleep(10 * time.Millisecond)
		m := runtime.NumGoroutine()
		if m == n {
			return n
		}
		n = m
	}
	return n
}

// hook sets what is asked before a batch is applied.
func (p *memoryPlace) hook(before func(*capture.Batch) error) {
	p.SetHooks(memstore.Hooks{Before: before})
}

// validate does what `caddy validate` does.
func (s *site) validate(option, directives string) error {
	s.t.Helper()
	data, err := adapt(s.caddyfile(option, directives))
	if err != nil {
		return err
	}
	var cfg *caddy.Config
	if err := caddy.StrictUnmarshalJSON(data, &cfg); err != nil {
		return err
	}
	return caddy.Validate(cfg)
}
