package badgerstore

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

const (
	// childDir tells the test binary to be the other process.
	childDir = "BADGERSTORE_TEST_CHILD_DIR"
	// childNoSync tells it not to make anything durable.
	childNoSync = "BADGERSTORE_TEST_CHILD_NO_SYNC"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child commits as fast as it can, and says what is durable after each commit:
// the block, its second, and the number of postbacks so far.
func child(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	e := New(dir, zap.NewNop())
	e.noSync = os.Getenv(childNoSync) != ""
	st, err := e.Open(ctx)
	if err != nil {
		fail(err)
	}
	pos := st.Position()
	fmt.Println("open", pos.NextBlock, pos.NextSeq, pos.NextBatch)
	for {
		b := &capture.Batch{Number: pos.NextBatch, Lease: pos.NextBlock + 10}
		at := day.Add(time.Duration(pos.NextBatch) * time.Second)
		block := &capture.Block{Number: pos.NextBlock}
		for i := range 40 {
			c := click(at, "spring")
			c.Ref = clickid.Ref{Epoch: 7, Block: block.Number, Slot: uint8(i), Second: uint32(at.Unix())}
			block.Clicks = append(block.Clicks, c)
		}
		p := postback(block.Clicks[3], "a", at.Add(time.Second))
		p.Seq = pos.NextSeq
		b.Blocks, b.Postbacks = []*capture.Block{block}, []*capture.Postback{p}
		if err := st.Commit(ctx, b); err != nil {
			fail(err)
		}
		fmt.Println("ack", block.Number, at.Unix(), p.Seq)
		pos.NextBlock++
		pos.NextSeq++
		pos.NextBatch++
	}
}

// startChild starts the other process and returns it with its lines.
func startChild(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "open ") {
		t.Fatalf("the other process says %q", lines.Text())
	}
	return cmd, lines
}

func TestLockedByAnotherProcess(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	cmd, _ := startChild(t, e.Dir)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	e.patience = shortly
	start := time.Now()
	_, err := e.Open(ctx)
	mustErr(t, err, capture.ErrLocked)
	if !strings.Contains(err.Error(), "process "+strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("the error does not name process %d: %v", cmd.Process.Pid, err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("that took %v", took)
	}
	if _, err := e.Identity(); err != nil {
		t.Errorf("the identity of an open store: %v", err)
	}
}

// TestKill ends a committing process at random moments: everything that it
// acknowledged is there, and the books agree with the records.
func TestKill(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	type ack struct{ block, second, seq uint64 }
	var acks []ack
	for round := range 5 {
		cmd, lines := startChild(t, e.Dir)
		time.AfterFunc(time.Duration(50+rand.IntN(300))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			var a ack
			if n, _ := fmt.Sscanf(lines.Text(), "ack %d %d %d", &a.block, &a.second, &a.seq); n == 3 {
				acks = append(acks, a)
			} else if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
		}
		_ = cmd.Wait()

		s := openStore(t, e)
		for _, a := range acks {
			for _, slot := range []uint8{0, 39} {
				ref := clickid.Ref{Epoch: 7, Block: a.block, Slot: slot, Second: uint32(a.second)}
				if _, err := s.Click(ctx, ref); err != nil {
					t.Fatalf("round %d: click %+v was acknowledged: %v", round, ref, err)
				}
			}
		}
		entries := journal(t, s, capture.JournalQuery{})
		pos := s.Position()
		if len(acks) > 0 {
			last := acks[len(acks)-1]
			if pos.NextBlock < last.block+10 || pos.NextSeq <= last.seq || pos.NextSeq > last.seq+2 {
				t.Errorf("round %d: the position is %+v after %+v", round, pos, last)
			}
		}
		if n := uint64(len(entries)); n < uint64(len(acks)) || n > uint64(len(acks)+round+1) || n != pos.NextSeq-1 {
			t.Errorf("round %d: %d journal entries for %d acknowledged, position %+v", round, n, len(acks), pos)
		}
		total := report(t, s, attribution.Query{From: day, To: day.Add(1000 * time.Hour)}).Total
		if total.Clicks != int64(40*len(entries)) || total.Conversions != int64(len(entries)) ||
			len(conversions(t, s, capture.ConversionQuery{})) != len(entries) {
			t.Errorf("round %d: %d entries, but the sums are %+v", round, len(entries), total)
		}
		closeStore(t, s, 0)
	}
	t.Logf("%d batches were acknowledged", len(acks))
}
