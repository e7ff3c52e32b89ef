package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// small makes copies in small pieces, and tells of each.
type small struct {
	capture.CopyEngine
	put func(n int)
}

type smallTarget struct {
	capture.CopyTarget
	e *small
	n int
}

func (e *small) OpenTarget(ctx context.Context, head *capture.CopyHead) (capture.CopyTarget, error) {
	t, err := e.CopyEngine.OpenTarget(ctx, head)
	if err != nil {
		return nil, err
	}
	return &smallTarget{CopyTarget: t, e: e}, nil
}

func (t *smallTarget) Put(ctx context.Context, records []*capture.CopyRecord) error {
	if len(records) > 40 {
		return capture.ErrTooLarge
	}
	t.n++
	t.e.put(t.n)
	return t.CopyTarget.Put(ctx, records)
}

// filled is a closed embedded store with some thousand records.
func filled(t *testing.T) *badgerstore.Engine {
	t.Helper()
	e := badgerstore.New(filepath.Join(t.TempDir(), "store"), zap.NewNop())
	s, err := e.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	pos := s.Position()
	for i := range 40 {
		var blocks []*capture.Block
		var posts []*capture.Postback
		for j := range 20 {
			when := noon.Add(time.Duration(i*20+j) * time.Minute)
			b := &capture.Block{Number: pos.NextBlock + uint64(i*20+j)}
			for k := range 4 {
				b.Clicks = append(b.Clicks, &capture.Click{
					Ref:  clickid.Ref{Epoch: id.Epoch, Block: b.Number, Slot: uint8(k), Second: uint32(when.Unix())},
					Time: when, Campaign: "acme", Source: fmt.Sprint("news", j), Destination: "https://acme.example/",
				})
			}
			blocks = append(blocks, b)
			posts = append(posts, sale(b.Clicks[0], "a"), sale(b.Clicks[1], "b"))
		}
		if err := s.Commit(context.Background(), &capture.Batch{Number: pos.NextBatch + uint64(i), Now: noon, Blocks: blocks, Postbacks: posts}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(pos.NextBlock + 800); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestCopyCut: the database goes away in the middle, before a commit or after.
func TestCopyCut(t *testing.T) {
	t.Parallel()
	for _, mode := range []int32{cutsBefore, cutsAfter} {
		from, p, to := filled(t), newProxy(t), fresh(t)
		p.word = "commit"
		direct := to.DSN
		to.DSN = p.dsn()
		puts := 0
		wrapped := &small{CopyEngine: to, put: func(n int) {
			if puts++; puts == 7 {
				p.mode.Store(mode)
			}
		}}
		_, err := capture.CopyStore(context.Background(), from, wrapped, nil)
		if !errors.Is(err, capture.ErrUnavailable) || p.cut.Load() != 1 {
			t.Fatalf("mode %d: %v, %d cuts", mode, err, p.cut.Load())
		}
		if strings.Contains(err.Error(), p.dsn()) {
			t.Errorf("the error shows the connection string: %v", err)
		}
		r, err := capture.CopyStore(context.Background(), from, wrapped, nil)
		if err != nil || r.Resumed == 0 {
			t.Fatalf("mode %d: %v: %+v", mode, err, r)
		}
		to.DSN = direct
		node := open(t, to)
		node.healthy()
		if got := node.totals(); got.Clicks != 3200 || got.Conversions != 1600 || got.Revenue["USD"].String() != "20000" {
			t.Errorf("mode %d: the copy counts %+v", mode, got)
		}
	}
}

const childEnv = "CAPTURE_COPY_CHILD"

// TestCopyChild is the process that TestCopyKilled kills.
func TestCopyChild(t *testing.T) {
	args := strings.Split(os.Getenv(childEnv), "\n")
	if len(args) != 4 {
		t.Skip("only for TestCopyKilled")
	}
	var disk capture.CopyEngine = badgerstore.New(args[1], zap.NewNop())
	var database capture.CopyEngine = &Engine{DSN: args[2], Schema: args[3], Dir: args[1] + ".node", Logger: zap.NewNop()}
	from, to := disk, database
	if args[0] == "back" {
		from, to = database, disk
	}
	fmt.Println("begun")
	r, err := capture.CopyStore(context.Background(), from, &small{CopyEngine: to, put: func(int) { time.Sleep(time.Millisecond) }}, nil)
	if err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
}

// TestCopyKilled: whoever copies is killed again and again, at any moment; there
// and back, everything is the same in the end.
func TestCopyKilled(t *testing.T) {
	t.Parallel()
	from := filled(t)
	database := fresh(t)
	database.Dir = from.Dir + ".node"
	copyKilled(t, "there", from.Dir, database)
	back := filepath.Join(t.TempDir(), "back")
	if err := os.Rename(from.Dir+".node", back+".node"); err != nil {
		t.Fatal(err)
	}
	copyKilled(t, "back", back, database)
	s, err := badgerstore.New(back, zap.NewNop()).Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(0) //nolint:errcheck // only read
	checked(t, s)
	if n := listed(t, s); n != 3200 {
		t.Errorf("%d clicks came back", n)
	}
	same(t, from, badgerstore.New(back, zap.NewNop()), s)
}

// same compares what the copy of a copy has with the first source.
func same(t *testing.T, from, back *badgerstore.Engine, s capture.Store) {
	t.Helper()
	a, err := from.Identity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := back.Identity()
	if err != nil || a.Epoch != b.Epoch || string(a.Secret) != string(b.Secret) {
		t.Errorf("the identity is another: %v", err)
	}
	first, err := from.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close(0) //nolint:errcheck // only read
	entries := func(s capture.Store) string {
		var list strings.Builder
		if err := s.Journal(context.Background(), capture.JournalQuery{}, func(e *capture.Entry) bool {
			data, err := capture.EncodeRecord(e)
			if err != nil {
				t.Error(err)
			}
			list.Write(data)
			return true
		}); err != nil {
			t.Error(err)
		}
		return list.String()
	}
	if entries(first) != entries(s) {
		t.Error("the journal is another")
	}
}

func copyKilled(t *testing.T, way, dir string, database *Engine) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(len(way))))
	killed := 0
	for round := 1; ; round++ {
		if round > 60 {
			t.Fatal("it never gets through")
		}
		cmd := osexec.Command(os.Args[0], "-test.run=^TestCopyChild$", "-test.timeout=2m") //nolint:gosec // ourselves
		cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{way, dir, database.DSN, database.Schema}, "\n"))
		out := &begun{began: make(chan struct{})}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			t.Fatalf("it ended before it began: %v\n%s", err, out.text)
		case <-out.began:
		}
		atMost := (60 + 40*round) << (max(0, round-20) / 4) // a busy machine needs longer for each piece
		delay := time.Duration(r.IntN(atMost)) * time.Millisecond
		select {
		case err := <-done:
			// It may have been killed when the copy was finished already. That the
			// copy is whole is for the caller to see.
			if err != nil && !(killed > 0 && strings.Contains(string(out.text), "is not empty")) {
				t.Fatalf("round %d: %v\n%s", round, err, out.text)
			}
			if killed < 3 {
				t.Fatalf("it was killed %d times only: the test proves little", killed)
			}
			return
		case <-time.After(delay):
			_ = cmd.Process.Kill()
			<-done
			killed++
		}
	}
}

// begun tells when a process says that it began.
type begun struct {
	text  []byte
	began chan struct{}
}

func (b *begun) Write(p []byte) (int, error) {
	if len(b.text) == 0 {
		close(b.began)
	}
	b.text = append(b.text, p...)
	return len(p), nil
}
