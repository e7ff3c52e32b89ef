package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// listener is an event handler as a module: `on <event> capture_listener`.
type listener struct {
	Name string `json:"name"`
}

func init() { caddy.RegisterModule(listener{}) }

func (listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.capture_listener", New: func() caddy.Module { return new(listener) }}
}

func (l *listener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&l.Name) {
		return d.ArgErr()
	}
	return nil
}

// Handle notes the event with what placeholders a handler's command would see.
func (l *listener) Handle(ctx context.Context, e caddy.Event) error {
	ear := earOf(l.Name)
	if ear.before != nil {
		ear.before(ctx)
	}
	data, err := json.Marshal(e.CloudEvent())
	if err != nil {
		return err
	}
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	ear.mu.Lock()
	defer ear.mu.Unlock()
	ear.heard = append(ear.heard, heard{
		name: e.Name(), data: e.Data, cloud: string(data),
		text: repl.ReplaceAll("{event.name} {event.data.campaign} {event.data.payout} {event.data.currency}", "?"),
	})
	return nil
}

type heard struct {
	name, cloud, text string
	data              map[string]any
}

type ear struct {
	mu     sync.Mutex
	heard  []heard
	before func(context.Context)
}

func (e *ear) all() []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]heard(nil), e.heard...)
}

func (e *ear) names() string {
	var names []string
	for _, h := range e.all() {
		names = append(names, strings.TrimPrefix(h.name, "capture."))
	}
	return strings.Join(names, " ")
}

var ears sync.Map

func earOf(name string) *ear {
	v, _ := ears.LoadOrStore(name, new(ear))
	return v.(*ear)
}

// listeningSite is a site whose events go to an ear.
func listeningSite(t *testing.T, before func(context.Context)) (*site, string, *ear) {
	t.Helper()
	option, _ := memoryOption(t)
	s := newSite(t)
	ears.Delete(t.Name())
	e := earOf(t.Name())
	e.before = before
	s.conf = fmt.Sprintf("events {\n on capture.conversion capture_listener %[1]s\n on capture.quarantined capture_listener %[1]s\n}", t.Name())
	s.load(option, eventRoutes)
	return s, option, e
}

const eventRoutes = `
	track_click /go/* https://acme.example/offer?aff_sub={click_id}
	postback /postback {
		token very-secret-token
		statuses {
			approved ok
			pending wait
		}
	}`

func TestEvents(t *testing.T) {
	s, option, ear := listeningSite(t, nil)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme?source=news")
	post := func(query string) {
		t.Helper()
		if resp, body := s.get("/postback?token=very-secret-token&" + query); resp.StatusCode/100 != 2 {
			t.Fatalf("%s: %d %s", query, resp.StatusCode, body)
		}
	}
	post("click_id=" + id + "&txid=t1&payout=12.5&currency=USD&event=sale&status=wait")
	post("click_id=" + id + "&txid=t1&payout=12.5&currency=USD&event=sale&status=wait") // a duplicate
	post("click_id=" + id + "&txid=t1&payout=12.5&currency=USD&event=sale&status=ok")
	post("click_id=" + id + "&txid=t2&payout=1&currency=USD&event=sale&status=odd")
	s.get("/postback?token=wrong&click_id=" + id) // rejected
	if _, _, err := runCommand(srv.URL, "test"); err != nil {
		t.Fatal(err) // what it makes emits nothing
	}
	eventually(t, "three events", func() bool { return ear.names() == "conversion conversion quarantined" })

	// The same by a replay under a new configuration, and by an import.
	s.load(option, strings.Replace(eventRoutes, "approved ok", "approved ok odd", 1))
	if _, side, err := runCommand(srv.URL, "replay"); err != nil || !strings.Contains(side, "1 recorded") {
		t.Fatalf("%v: %s", err, side)
	}
	importLines(t, srv.URL, "click_id,txid,payout,currency\n"+id+",t3,7,EUR\n")
	eventually(t, "five events", func() bool {
		return ear.names() == "conversion conversion quarantined conversion conversion"
	})

	all := ear.all()
	for i, want := range []map[string]any{
		{"outcome": "recorded", "status": "pending", "txid": "t1", "journal": uint64(1), "route": "/postback", "replays": uint64(0)},
		{"outcome": "updated", "status": "approved", "txid": "t1", "payout": "12.50", "currency": "USD", "source": "news"},
		{"reason": "unmapped_status", "txid": "t2", "campaign": "acme", "click_id": id},
		{"outcome": "recorded", "status": "approved", "txid": "t2", "replays": all[2].data["journal"]},
		{"outcome": "recorded", "txid": "t3", "payout": "7.00", "currency": "EUR", "route": capture.ImportRoute},
	} {
		for key, value := range want {
			if got := all[i].data[key]; got != value {
				t.Errorf("event %d: %s is %v, want %v", i+1, key, got, value)
			}
		}
		if all[i].data["click_id"] != id {
			t.Errorf("event %d names click %v, want %s", i+1, all[i].data["click_id"], id)
		}
		for _, bad := range []string{"very-secret-token", "127.0.0"} {
			if strings.Contains(all[i].cloud, bad) {
				t.Errorf("event %d says %q: %s", i+1, bad, all[i].cloud)
			}
		}
	}
	if got := all[1].text; got != "capture.conversion acme 12.50 USD" {
		t.Errorf("placeholders: %q", got)
	}
	if !strings.Contains(all[0].cloud, `"source":"capture"`) {
		t.Errorf("the event came from elsewhere: %s", all[0].cloud)
	}
}

// importLines imports CSV.
func importLines(t *testing.T, address, text string) {
	t.Helper()
	resp, err := http.Post(address+"/capture/conversions", "text/csv", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the import was answered %d", resp.StatusCode)
	}
	if _, err := readImport(t.Output(), resp.Body, new(progress), func(int) {}); err != nil {
		t.Fatal(err)
	}
}

// A handler that hangs holds up neither postbacks nor a reload; what it keeps
// from being told waits, and is told by the configuration that comes.
func TestEventsOfSlowHandlers(t *testing.T) {
	release := make(chan struct{})
	var first sync.Once
	s, option, ear := listeningSite(t, func(ctx context.Context) {
		first.Do(func() {
			select {
			case <-release:
			case <-ctx.Done():
				t.Error("a reload took the event away from its handler")
			}
		})
	})
	id := s.visit("/go/acme")
	for i := range 3 {
		if resp, _ := s.get(fmt.Sprintf("/postback?token=very-secret-token&status=ok&click_id=%s&txid=t%d", id, i)); resp.StatusCode != 200 {
			t.Fatalf("postback %d: %d", i, resp.StatusCode)
		}
	}
	s.load(option, eventRoutes+"\n # changed\n header X-Changed 1")
	close(release)
	eventually(t, "all three", func() bool { return len(ear.all()) == 3 })
}

// A handler that panics takes neither the server nor the next event with it.
func TestEventsOfPanickingHandlers(t *testing.T) {
	var first sync.Once
	s, _, ear := listeningSite(t, func(context.Context) { first.Do(func() { panic("a bug of a plugin") }) })
	id := s.visit("/go/acme")
	for i := range 2 {
		s.get(fmt.Sprintf("/postback?token=very-secret-token&status=ok&click_id=%s&txid=t%d", id, i))
	}
	eventually(t, "the second", func() bool { return len(ear.all()) == 1 })
	if got := ear.all()[0].data["txid"]; got != "t1" {
		t.Errorf("heard of %v", got)
	}
}

// A handler may go on in the background with the context that it got: the one
// that runs commands does so, and would have them killed.
func TestEventContextOutlivesHandler(t *testing.T) {
	contexts := make(chan context.Context, 2)
	s, option, _ := listeningSite(t, func(ctx context.Context) { contexts <- ctx })
	id := s.visit("/go/acme")
	s.get("/postback?token=very-secret-token&status=ok&txid=t1&click_id=" + id)
	s.get("/postback?token=very-secret-token&status=ok&txid=t2&click_id=" + id)
	first := <-contexts
	<-contexts // so that the first event is over
	s.load(option, eventRoutes+"\n header X-Changed 1")
	if err := first.Err(); err != nil {
		t.Errorf("the context of a handler that has returned: %v", err)
	}
}

// What waits when the server stops is told first.
func TestEventsAtTheEnd(t *testing.T) {
	defer func(d time.Duration) { eventFlush = d }(eventFlush)
	eventFlush = 30 * time.Second
	s, _, ear := listeningSite(t, func(context.Context) { time.Sleep(20 * time.Millisecond) })
	id := s.visit("/go/acme")
	for i := range 5 {
		s.get(fmt.Sprintf("/postback?token=very-secret-token&status=ok&click_id=%s&txid=t%d", id, i))
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(ear.all()); n != 5 {
		t.Errorf("heard of %d", n)
	}
}

// The queue is bounded, never waits, and counts what it drops.
func TestEventQueueIsBounded(t *testing.T) {
	q := newEventQueue(zap.NewNop())
	q.find = func() *App { return nil } // nothing runs yet
	before := testutil.ToFloat64(eventsDropped.WithLabelValues(eventQuarantined))
	r := &capture.Result{Entry: &capture.Entry{Seq: 1, Outcome: capture.Quarantined, Reason: capture.UnknownClick}}
	const extra = 10
	for range maxWaitingEvents + extra + 1 {
		q.push(r)
	}
	if n := testutil.ToFloat64(eventsDropped.WithLabelValues(eventQuarantined)) - before; n < extra || n > extra+1 {
		t.Errorf("%v were dropped", n)
	}
	q.close()
	if n := testutil.ToFloat64(eventsDropped.WithLabelValues(eventQuarantined)) - before; n != maxWaitingEvents+extra+1 {
		t.Errorf("after the end %v were dropped", n)
	}
	for _, none := range []*capture.Result{
		{}, {Entry: &capture.Entry{Outcome: capture.Duplicate}}, {Entry: &capture.Entry{Outcome: capture.Quarantined, Test: true}},
	} {
		if name := eventName(none); name != "" {
			t.Errorf("%+v makes the event %s", none.Entry, name)
		}
	}
}
