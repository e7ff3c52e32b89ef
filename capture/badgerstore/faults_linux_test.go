package badgerstore

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/baddisk"
)

// An ack is a batch of the other process that it says is durable.
type ack struct{ block, second, seq uint64 }

func parseAck(line string) (a ack, ok bool) {
	n, _ := fmt.Sscanf(line, "ack %d %d %d", &a.block, &a.second, &a.seq)
	return a, n == 3
}

// ackLog collects what the other process says.
type ackLog struct {
	mu   sync.Mutex
	acks []ack
	done chan struct{} // closed when it has ended
}

func collectAcks(t *testing.T, lines *bufio.Scanner) *ackLog {
	l := &ackLog{done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for lines.Scan() {
			a, ok := parseAck(lines.Text())
			if !ok {
				t.Errorf("the other process says %q", lines.Text())
				return
			}
			l.mu.Lock()
			l.acks = append(l.acks, a)
			l.mu.Unlock()
		}
	}()
	return l
}

func (l *ackLog) copy() []ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.acks)
}

// lostOf counts what was acknowledged and is not in the store, and describes
// what else is wrong with it.
func lostOf(s *Store, acks []ack) (lost int, wrong error) {
	for _, a := range acks {
		for _, slot := range []uint8{0, 39} {
			ref := clickid.Ref{Epoch: 7, Block: a.block, Slot: slot, Second: uint32(a.second)}
			if _, err := s.Click(ctx, ref); err != nil {
				lost++
				break
			}
		}
		if _, err := s.Entry(ctx, a.seq); err != nil {
			lost++
		}
	}
	total, err := s.Report(ctx, attribution.Query{From: day, To: day.Add(100000 * time.Hour)})
	if err != nil {
		return lost, err
	}
	if n := total.Total.Conversions; total.Total.Clicks != 40*n || n < int64(len(acks)) && lost == 0 {
		return lost, fmt.Errorf("%d batches were acknowledged, and the sums are %+v", len(acks), total.Total)
	}
	check, err := s.Check(ctx, nil)
	if err == nil && check.Wrong > 0 {
		err = fmt.Errorf("the check finds %q", check.Problems)
	}
	return lost, err
}

// TestPowerCut looks at what a disk holds had the power been cut while another
// process commits. The second half shows that the test can fail: without
// syncing, what is acknowledged is lost.
func TestPowerCut(t *testing.T) {
	baddisk.Require(t)
	for _, c := range []struct {
		name string
		sync bool
		cuts int
	}{{"synced", true, 5}, {"not synced", false, 3}} {
		t.Run(c.name, func(t *testing.T) {
			d := baddisk.New(t, 400)
			dir := filepath.Join(d.Dir, "store")
			if !c.sync {
				t.Setenv(childNoSync, "1")
			}
			cmd, lines := startChild(t, dir)
			log := collectAcks(t, lines)
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				<-log.done
				_ = cmd.Wait()
			})
			for end := time.Now().Add(30 * time.Second); len(log.copy()) == 0 && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			acknowledged, lost, refused := 0, 0, 0
			for range c.cuts {
				time.Sleep(250 * time.Millisecond)
				acks := log.copy()
				left := d.CutPower(t)
				acknowledged += len(acks)
				if len(acks) == 0 {
					t.Fatal("nothing was acknowledged")
				}
				e := New(filepath.Join(left.Dir, "store"), zap.NewNop())
				e.Reserve = 1 << 20
				st, err := e.Open(ctx)
				if err != nil {
					refused++
					t.Logf("opening: %v", err)
					continue
				}
				n, err := lostOf(st.(*Store), acks)
				if lost += n; err != nil && c.sync {
					t.Error(err)
				}
				if err := st.Close(0); err != nil {
					t.Error(err)
				}
			}
			t.Logf("%d cuts: of %d acknowledged batches and their entries %d are lost, %d stores do not open",
				c.cuts, acknowledged, lost, refused)
			if found := lost > 0 || refused > 0; found == c.sync {
				t.Errorf("lost: %d, not opened: %d", lost, refused)
			}
		})
	}
}

// TestDamagedLog flips one byte in what a killed process left in its log. What
// was acknowledged behind it must not be lost in silence, and a torn end must
// not be taken for damage.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	cmd, lines := startChild(t, e.Dir)
	log := collectAcks(t, lines)
	for end := time.Now().Add(30 * time.Second); len(log.copy()) < 40 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	<-log.done
	_ = cmd.Wait()
	acks := log.copy()
	names, _ := filepath.Glob(filepath.Join(e.Dir, "*.mem"))
	if len(names) != 1 || len(acks) < 10 {
		t.Fatalf("logs %v, %d batches", names, len(acks))
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(whole, "\x00"))
	whole = whole[:min(len(whole), used+64<<10)] // it is made at full size
	end, later := checkLog(whole)
	if later > 1 || end > used+8 || end < used-1<<20 {
		t.Fatalf("a log with %d bytes ends at %d, with %d writes behind", used, end, later)
	}
	if later == 1 { // it was killed within a write
		clear(whole[end:])
		used = len(bytes.TrimRight(whole, "\x00"))
	}
	var ends []int // of transactions
	for at := logHeader; ; {
		r, ok := readLogRecord(whole[at:], false)
		if !ok {
			break
		}
		if at += r.size; !r.goesOn {
			ends = append(ends, at)
		}
	}
	last := ends[len(ends)-2] // the last transaction begins there
	for i := range 20 {
		at := logHeader + (ends[len(ends)-3]-logHeader)*i/20
		data := bytes.Clone(whole)
		data[at] ^= 0x10
		if end, later := checkLog(data); later < 2 || end > at {
			t.Errorf("byte %d of %d is damaged: the log ends at %d, with %d writes behind", at, used, end, later)
		}
	}
	// A write that was interrupted, anywhere: what is before or what is behind is missing.
	for i := range 20 {
		cut := last + (used-last)*i/20
		for _, gap := range [][2]int{{cut, used}, {last, cut}} {
			data := bytes.Clone(whole)
			clear(data[gap[0]:gap[1]])
			if end, later := checkLog(data); later > 1 || end > used {
				t.Errorf("cut at byte %d of %d: the log ends at %d, with %d writes behind", cut, used, end, later)
			}
		}
	}

	data := bytes.Clone(whole)
	data[used/2] ^= 0x10
	if err := os.WriteFile(names[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = e.Open(ctx)
	damaged(t, e, err, filepath.Base(names[0]))
	end, _ = checkLog(data)
	advice := fmt.Sprintf("truncate -s %d %s", end, names[0])
	if !strings.Contains(err.Error(), advice) || !strings.Contains(err.Error(), "backup") {
		t.Fatalf("the error does not help: %v", err)
	}
	// The advice is good.
	if err := os.Truncate(names[0], int64(end)); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, e)
	kept := report(t, s, attribution.Query{From: day, To: day.Add(100000 * time.Hour)}).Total.Conversions
	if kept < int64(len(acks)/4) || kept > int64(len(acks)*3/4) {
		t.Errorf("%d of %d batches are kept", kept, len(acks))
	}
	if lost, err := lostOf(s, acks[:kept]); lost > 0 || err != nil {
		t.Errorf("%d of the first %d batches are lost: %v", lost, kept, err)
	}
}

// TestLogsHaveRoom looks whether logs are given room as they come.
func TestLogsHaveRoom(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	for rotated := false; !rotated; rotated = len(s.db.Tables()) > 0 {
		var clicks []*capture.Click
		for range 6 * capture.BlockClicks {
			c := click(day, "spring")
			c.Referer = rand.Text() + rand.Text() + rand.Text() + rand.Text()
			clicks = append(clicks, c)
		}
		w.clicks(clicks...)
	}
	w.clicks(click(day, "spring"))
	names, _ := filepath.Glob(filepath.Join(s.home.dir, "*.mem"))
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			continue // written to a table meanwhile
		}
		if used := diskUsed(info); used < logRoom {
			t.Errorf("%s has %d bytes of room", filepath.Base(name), used)
		}
	}
	if len(names) == 0 {
		t.Error("no log was found")
	}
}
