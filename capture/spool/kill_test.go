package spool_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/pgstore"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
	"github.com/caddy-capture/caddy-capture/capture/spool"
)

// What the other process is told: where its directory and its database are.
const (
	childDir    = "SPOOL_TEST_CHILD_DIR"
	childDSN    = "SPOOL_TEST_CHILD_DSN"
	childSchema = "SPOOL_TEST_CHILD_SCHEMA"
	// childSteady says that it has the database all the time.
	childSteady = "SPOOL_TEST_CHILD_STEADY"
)

// flaky is a shared store that is away for short times, and then loses batches on
// their way or the answers to them.
type flaky struct {
	*pgstore.Engine
	away *atomic.Bool
}

var errAway = fmt.Errorf("%w: it is away", capture.ErrUnavailable)

func (e flaky) Open(ctx context.Context) (capture.Store, error) {
	if e.away.Load() {
		return nil, errAway
	}
	s, err := e.Engine.Open(ctx)
	if err != nil {
		return nil, err
	}
	return flakyStore{s.(*pgstore.Store), e.away}, nil
}

type flakyStore struct {
	*pgstore.Store
	away *atomic.Bool
}

func (s flakyStore) Ping(ctx context.Context) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.Ping(ctx)
}

func (s flakyStore) Commit(ctx context.Context, b *capture.Batch) error {
	if !s.away.Load() {
		return s.Store.Commit(ctx, b)
	}
	switch rand.IntN(3) {
	case 0:
		return errAway
	case 1:
		return fmt.Errorf("%w: the batch was lost", capture.ErrUnknown)
	}
	if err := s.Store.Commit(ctx, b); err != nil {
		return err
	}
	return fmt.Errorf("%w: the answer was lost", capture.ErrUnknown)
}

// child is the other process: a ledger that takes clicks and sales of clicks
// before, and says of each that it was acknowledged.
func child() {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	away := new(atomic.Bool)
	steady := os.Getenv(childSteady) != ""
	away.Store(!steady && rand.IntN(3) == 0)
	dir := os.Getenv(childDir)
	e := &spool.Engine{
		Shared: flaky{&pgstore.Engine{DSN: os.Getenv(childDSN), Schema: os.Getenv(childSchema), Dir: dir, Logger: zap.NewNop()}, away},
		OpenQueue: func(ctx context.Context) (spool.Queue, error) {
			q, err := badgerstore.New(filepath.Join(dir, "queue"), zap.NewNop()).OpenQueue(ctx)
			if err != nil {
				return nil, err
			}
			return q, nil
		},
	}
	l, err := capture.OpenLedger(context.Background(), e, &capture.Attachment{Logger: zap.NewNop()}, capture.Options{})
	if err != nil {
		fail(err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		for !steady {
			away.Store(false)
			time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
			away.Store(true)
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		}
	}()
	for w := range 4 {
		go work(l, w)
	}
	select {}
}

func work(l *capture.Ledger, w int) {
	for n := 0; ; n++ {
		c := &capture.Click{Time: time.Now(), Campaign: "acme", Source: "news", Destination: "https://acme.example/"}
		if l.Wait(l.Record(c), 10*time.Second) != capture.SavedOnDisk {
			continue // nothing was promised
		}
		fmt.Println("click", c.Ref.Epoch, c.Ref.Block, c.Ref.Slot, c.Ref.Second)
		p := &capture.Postback{
			Time: time.Now(), Route: "main", Ref: c.Ref, HasRef: true,
			Rules: &capture.Rules{Retain: capture.Retention{Clicks: capture.DefaultRetainClicks}},
			Raw:   capture.Raw{Method: http.MethodGet, Host: "a.example", URI: "/pb"},
			Claim: attribution.Claim{Event: "sale", TxID: fmt.Sprint(w, "-", n), Status: attribution.Approved},
		}
		if err := l.Book(context.Background(), p); err == nil {
			fmt.Println("sale", c.Ref.Epoch, c.Ref.Block, c.Ref.Slot, c.Ref.Second, p.Result.Outcome)
		}
	}
}

// A process is killed again and again while it spools, drains and writes straight:
// what it acknowledged is there once, and nothing is there twice.
func TestPostgresKill(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	schema, dir := pgtest.Schema(), t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	first := fleetNode(t, server.DSN(), schema, dir) // a first start needs the database
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	clicks, sales := make(map[clickid.Ref]bool), make(map[clickid.Ref]bool)
	outcomes := make(map[string]int)
	for round := range 6 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childDir+"="+dir, childDSN+"="+server.DSN(), childSchema+"="+schema)
		steady := round%3 == 2
		if steady {
			cmd.Env = append(cmd.Env, childSteady+"=1")
		}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		left := 20 + rand.IntN(100) // acknowledgements until it is killed
		spooled := round%3 != 0     // the others go on until something is in the spool
		timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			var ref clickid.Ref
			var what, outcome string
			n, _ := fmt.Sscan(lines.Text(), &what, &ref.Epoch, &ref.Block, &ref.Slot, &ref.Second, &outcome)
			switch {
			case what == "click" && n >= 5:
				if clicks[ref] {
					t.Errorf("the ID of click %+v was given twice", ref)
				}
				clicks[ref] = true
			case what == "sale" && n == 6:
				sales[ref] = true
				outcomes[outcome]++
				spooled = spooled || outcome == string(capture.Accepted)
			case strings.HasPrefix(lines.Text(), "error"):
				t.Fatal(lines.Text())
			}
			if steady && outcome != string(capture.Recorded) {
				continue // this one goes on until it writes straight
			}
			if left--; left <= 0 && spooled {
				_ = cmd.Process.Kill()
			}
		}
		timer.Stop()
		_ = cmd.Wait()
	}
	if len(clicks) == 0 || outcomes["accepted"] == 0 {
		t.Fatalf("acknowledged were %d clicks and %v", len(clicks), outcomes)
	}
	l := fleetNode(t, server.DSN(), schema, dir)
	defer func() { _ = l.Close() }()
	until(t, "it is drained", func() bool { return l.Health().Store.Spool.State == capture.SpoolShared })
	if h := l.Health(); h.State != "ok" {
		t.Errorf("the health is %+v", h)
	}
	r, err := l.Reader()
	if err != nil {
		t.Fatal(err)
	}
	stored := make(map[clickid.Ref]int)
	if err := r.Clicks(context.Background(), capture.ClickQuery{}, func(c *capture.Click) bool { stored[c.Ref]++; return true }); err != nil {
		t.Fatal(err)
	}
	for ref := range clicks {
		if stored[ref] != 1 {
			t.Errorf("click %+v was acknowledged and is there %d times", ref, stored[ref])
		}
	}
	sold := make(map[clickid.Ref]int)
	if err := r.Journal(context.Background(), capture.JournalQuery{}, func(e *capture.Entry) bool {
		if sold[e.Click]++; e.Outcome != capture.Recorded {
			t.Errorf("an entry is %s %s", e.Outcome, e.Reason)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for ref := range sales {
		if sold[ref] != 1 {
			t.Errorf("the sale of click %+v was acknowledged and is there %d times", ref, sold[ref])
		}
	}
	for ref, n := range sold {
		if n > 1 {
			t.Errorf("the sale of click %+v is there %d times", ref, n)
		}
	}
	now := time.Now()
	report, err := l.Report(context.Background(), attribution.Query{From: now.Add(-time.Hour), To: now.Add(time.Hour)})
	if err != nil || int(report.Total.Clicks) != len(stored) || int(report.Total.Conversions) != len(sold) {
		t.Errorf("the report counts %+v, stored are %d clicks and %d sales: %v", report.Total, len(stored), len(sold), err)
	}
	check, err := l.Check(context.Background(), nil)
	if err != nil || check.Wrong > 0 {
		t.Errorf("the check says %v, %v", check.Problems, err)
	}
	t.Logf("acknowledged: %d clicks, postbacks %v", len(clicks), outcomes)
}
