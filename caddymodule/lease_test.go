package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// reached is a store in memory that can be reached in several ways, as a module:
// `store reached <name> <way>`.
type reached struct {
	memory
	Way string `json:"way"`
}

func init() { caddy.RegisterModule(reached{}) }

func (reached) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "capture.stores.reached", New: func() caddy.Module { return new(reached) }}
}

func (m *reached) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&m.Name, &m.Way) {
		return d.ArgErr()
	}
	return nil
}

func (m *reached) Engine(logger *zap.Logger) capture.Engine {
	return &reachedEngine{m.memory.Engine(logger).(memoryEngine), m.Way}
}

type reachedEngine struct {
	memoryEngine
	way string
}

func (e *reachedEngine) Same(other capture.Engine) bool {
	o, ok := other.(*reachedEngine)
	return ok && o.way == e.way
}

func (e *reachedEngine) Open(ctx context.Context) (capture.Store, error) {
	store, err := e.memoryEngine.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &reachedStore{store, e.place}, nil
}

type reachedStore struct {
	capture.Store
	place *memoryPlace
}

// Switch implements capture.Switcher.
func (s *reachedStore) Switch(engine capture.Engine) error {
	s.place.logger.Store(engine.(*reachedEngine).logger)
	return nil
}

// A store that is reached in another way since some reload logs to where the
// newest configuration does, and not to where that one did.
func TestStoreLogMovesOnFromItsWay(t *testing.T) {
	s := newSite(t)
	name := newPlace(t, "")
	place := memoryAt(name)
	ways := []string{"one", "two", "two", "one", "one"}
	files := make([]string, len(ways))
	for i, way := range ways {
		files[i] = filepath.Join(s.dir, fmt.Sprintf("log%d.json", i))
		s.conf = "log {\n output file " + files[i] + "\n format json\n}"
		s.load("capture {\n store reached "+name+" "+way+"\n}", "postback /pb")
		place.logger.Load().Info(fmt.Sprint("line ", i))
	}
	for i := range files {
		data, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		for line := range ways {
			if got := strings.Contains(string(data), fmt.Sprintf(`"logger":"capture.store","msg":"line %d"`, line)); got != (line == i) {
				t.Errorf("log %d has line %d: %v", i, line, got)
			}
		}
	}
	place.want(t, 1, 0)
}

// A reload does not go over from a store that works to one that this machine knows
// nothing of yet and that cannot be reached; a start does, for want of another.
func TestReloadToStoreOutOfReach(t *testing.T) {
	t.Setenv("PG_PASSWORD", "hunter2")
	s := newSite(t)
	spool := filepath.Join(s.dir, "spool")
	away := postgresOption("host=127.0.0.1 port=1 user=me password={env.PG_PASSWORD} sslmode=disable connect_timeout=2", spool, "")
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	for n := range 3 {
		err := s.tryLoad(away, "postback /pb")
		if err == nil || !strings.Contains(err.Error(), "never used the store postgres 127.0.0.1:1/") || strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("the reload gives %v", err)
		}
		if res, body := s.get(fmt.Sprintf("/pb?click_id=%s&txid=%d", id, n)); res.StatusCode != http.StatusOK {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
	}
	place.want(t, 1, 0)
	if open := openLedgers(); len(open) != 1 {
		t.Errorf("%d ledgers are open", len(open))
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}

	// A log file and all that can be asked for has no password.
	log := filepath.Join(s.dir, "log.json")
	s.conf = "metrics\nlog {\n output file " + log + "\n format json\n level DEBUG\n}"
	const routes = "track_click /go/acme https://acme.example/?id={click_id}\npostback /pb\nhandle /metrics {\n metrics\n}"
	s.load(away, routes)
	srv := adminServer(t, adminAPI{})
	if res, _ := s.get("/go/acme"); res.StatusCode != http.StatusFound {
		t.Errorf("a visitor gets %d", res.StatusCode)
	}
	if res, body := s.get("/pb?click_id=" + id + "&txid=x"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || strings.Contains(body, "hunter2") {
		t.Errorf("a postback gets %d %s", res.StatusCode, body)
	}
	var said strings.Builder
	for path, want := range map[string]int{"/capture/health": 503, "/capture/report": 503, "/capture/journal": 503, "/capture/backup": 503, "/capture/check": 503} {
		status, _, body := adminDo(t, srv, http.MethodGet, path)
		if status != want {
			t.Errorf("%s gives %d %s", path, status, body)
		}
		said.WriteString(body)
	}
	out, side, err := runCommand(srv.URL, "health")
	fmt.Fprintln(&said, out, side, err)
	_, body := s.get("/metrics")
	said.WriteString(body)
	s.load(away, routes+"\nheader X-Load 2") // from such a store to such a store is no change for the worse
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	logged, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(logged), "127.0.0.1:1") {
		t.Errorf("%v: the log does not name the store: %s", err, logged)
	}
	if all := said.String() + string(logged); strings.Contains(all, "hunter2") {
		t.Errorf("the password is in what was said: %s", all)
	}
}
