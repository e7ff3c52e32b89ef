package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/storetest/baddisk"
)

const (
	// The store keeps 256 MiB free, so its disks are somewhat larger.
	faultyDisk = 600 // MiB
	// A redirect waits for the disk no longer than this on the sites below.
	faultyWait = time.Second
	// More than a redirect may take, whatever the disk does, on a machine that is busy.
	faultyLimit = faultyWait + 2*time.Second
)

// faultySite is witnessSite with redirects that wait as briefly as people have it.
var faultySite = strings.Replace(witnessSite, "max_wait 10s", "max_wait "+faultyWait.String(), 1)

// newServerOn prepares a server whose store is on a disk.
func newServerOn(t *testing.T, d *baddisk.Disk, caddyfile string) *server {
	t.Helper()
	s := newServer(t, caddyfile)
	s.keepIn(filepath.Join(d.Dir, "store"), caddyfile)
	return s
}

// TestPowerCut starts a server on what its disk would hold had the power failed at some moment. That
// this finds what is missing is shown in package badgerstore, by a store that does not sync.
func TestPowerCut(t *testing.T) {
	baddisk.Require(t)
	d := baddisk.New(t, faultyDisk)
	s := newServerOn(t, d, witnessSite)
	s.start()
	w := newWitness(s)
	for n := range 5 {
		w.start()
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
		owed := w.claims()
		left := d.CutPower(t)
		w.stop(t)
		owed.widen(w.claims())

		t.Run(fmt.Sprint("cut ", n), func(t *testing.T) {
			after := newServerOn(t, left, witnessSite)
			after.start()
			f := owed.verify(t, after)
			after.verifyTotal(t, f)
			after.check()
			after.stop()
			t.Logf("%d clicks and %d conversions are there", f.clicks, f.sales)
		})
	}
	s.stop()
}

func TestDiskFilled(t *testing.T) {
	baddisk.Require(t)
	for name, newDisk := range map[string]func(testing.TB, int) *baddisk.Disk{"ext4": baddisk.New, "tmpfs": baddisk.NewInMemory} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, faultyDisk)
			s := newServerOn(t, d, faultySite)
			s.start()
			w := newWitness(s)
			w.start()
			w.warmUp(t)
			w.doubt.Store(true) // from now on a redirect does not say that the click is kept
			free := d.Fill(t, 0)
			s.expectSale(t, w, 503)
			w.stop(t)
			s.expectState("degraded", "free")
			waiting := s.expectRedirects(t, w, 100)
			free()
			s.expectSale(t, w, 200)
			s.expectState("ok")
			s.verifyAfterFault(t, w, waiting)
			s.stop()

			// The other way round: full at the start.
			free = d.Fill(t, 0)
			s.start()
			s.expectSale(t, w, 503)
			s.expectState("degraded", "free")
			s.expectRedirects(t, w, 10) // without a store there is no place for clicks: no more than that
			free()
			s.expectSale(t, w, 200)
			s.expectState("ok")
			s.verifyAfterFault(t, w, nil)
			s.stop()
		})
	}
}

// expectSale repeats a sale until it is answered so.
func (s *server) expectSale(t *testing.T, w *witness, status int) {
	t.Helper()
	w.mu.Lock()
	id := w.clicks[0]
	w.now.sales["again"] = sale{click: id, booked: w.now.sales["again"].booked || status == 200}
	w.mu.Unlock()
	eventually(t, diskTimeout, func() error {
		a := s.get("/postback?cid=" + id + "&txid=again&payout=0.01&currency=USD")
		if a.status != status || (status == 503) != (a.header.Get("Retry-After") != "") {
			return fmt.Errorf("postback: status %d, Retry-After %q %s", a.status, a.header.Get("Retry-After"), a.body)
		}
		return nil
	})
}

// expectRedirects makes clicks, none of which may cost a visitor time, and returns them by number.
func (s *server) expectRedirects(t *testing.T, w *witness, clicks int) map[int]string {
	t.Helper()
	made := make(map[int]string)
	for range clicks {
		w.mu.Lock()
		w.next++
		n, target := w.next, fmt.Sprintf("/go/%s?sub1=%d", w.now.campaign, w.next)
		w.now.clicks[n] = ""
		w.mu.Unlock()
		begin := time.Now()
		made[n] = s.click(target, "aff_sub")
		if took := time.Since(begin); took > faultyLimit {
			t.Errorf("a redirect took %v", took)
		}
	}
	if a := s.get("/"); a.status != 200 {
		t.Errorf("the site: status %d", a.status)
	}
	return made
}

// expectState wants the health to be so and to say why.
func (s *server) expectState(state string, words ...string) {
	s.t.Helper()
	status := 503
	if state == "ok" {
		status = 200
	}
	eventually(s.t, diskTimeout, func() error {
		a := s.api("/capture/health")
		if a.status != status || !containsAll(a.body, append(words, `"state":"`+state+`"`)...) {
			return fmt.Errorf("health should be %s: status %d %s", state, a.status, a.body)
		}
		return nil
	})
}

// verifyAfterFault waits until nothing is queued, and then wants these clicks too.
func (s *server) verifyAfterFault(t *testing.T, w *witness, queued map[int]string) {
	t.Helper()
	owed := w.claims()
	maps.Copy(owed.clicks, queued)
	eventually(t, waitForClicks, func() error {
		var h struct{ Queue struct{ Clicks int } }
		if decode(t, s.api("/capture/health").body, &h); h.Queue.Clicks > 0 {
			return fmt.Errorf("%d clicks are still queued", h.Queue.Clicks)
		}
		return nil
	})
	s.verifyTotal(t, owed.verify(t, s))
	s.check()
}

// TestSyncFails makes the kernel tell the running server that the disk did not take what was written.
// What is on the disk then nobody knows, so the store must stop, and nothing else may.
func TestSyncFails(t *testing.T) {
	baddisk.Require(t, "strace")
	for name, c := range map[string]struct {
		fault string
		end   func(*server)
	}{
		// A few, for each thread: one alone can hit the sync of Badger's empty value log, which means nothing.
		"a while":  {"fdatasync:error=EIO:when=1..4", (*server).stop},
		"for ever": {"msync,fsync,fdatasync:error=EIO:when=1+", (*server).kill},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, faultySite)
			w := newWitness(s)
			w.start()
			w.warmUp(t)
			w.doubt.Store(true)
			heal := s.inject(t, c.fault)
			s.expectSale(t, w, 503)
			w.stop(t)
			s.expectRedirects(t, w, 20)
			s.expectState("stopped", "input/output error")
			if log := s.logs(); !containsAll(log, "check the disk, then restart Caddy", "input/output error", s.store) {
				t.Errorf("the log does not say what to do:\n%s", log)
			}
			if name == "a while" {
				heal()
				s.expectState("stopped") // once is enough
			}
			c.end(s)
			heal()

			s.start()
			owed := w.claims()
			s.verifyTotal(t, owed.verify(t, s))
			s.check()
			s.expectSale(t, w, 200)
			s.expectState("ok")
			s.stop()
		})
	}
}

// inject makes system calls of the running server go wrong, as strace describes it, until heal is called.
func (s *server) inject(t *testing.T, fault string) (heal func()) {
	t.Helper()
	calls, _, _ := strings.Cut(fault, ":")
	cmd := exec.Command("strace", "-f", "-q", "-o", os.DevNull, "-e", "trace="+calls, "-e", "inject="+fault, "-p", fmt.Sprint(s.pid()))
	dieWithTest(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heal = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // which lets go of the server
		_ = cmd.Wait()
	})
	t.Cleanup(heal)
	eventually(t, startTimeout, func() error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.pid()))
		for _, task := range tasks {
			if status, err := os.ReadFile(task); err == nil && containsAll(string(status), "TracerPid:\t0\n") {
				return fmt.Errorf("strace has not got hold of %s yet", task)
			}
		}
		return err
	})
	return heal
}

func TestDiskStalls(t *testing.T) {
	baddisk.Require(t, "strace")
	for name, stall := range map[string]func(*testing.T, *server, *baddisk.Disk) func(){
		"nothing can be written": func(t *testing.T, _ *server, d *baddisk.Disk) func() { return d.Stall(t) },
		"syncing takes long": func(t *testing.T, s *server, _ *baddisk.Disk) func() {
			return s.inject(t, "fdatasync:delay_enter=4000000")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := baddisk.New(t, faultyDisk)
			s := newServerOn(t, d, faultySite)
			s.start()
			w := newWitness(s)
			w.start()
			w.warmUp(t)
			w.doubt.Store(true)
			resume := stall(t, s, d)
			queued := s.expectRedirects(t, w, 2)
			collected := s.collectGarbage() // which must not wait for the disk either
			maps.Copy(queued, s.expectRedirects(t, w, 3))
			resume()
			if err := <-collected; err != nil {
				t.Error(err)
			}
			w.stop(t)
			s.expectSale(t, w, 200)
			s.expectState("ok")
			s.verifyAfterFault(t, w, queued)
			s.stop()
		})
	}
}

// collectGarbage makes the server do so in its own time.
func (s *server) collectGarbage() (done chan error) {
	done = make(chan error, 1)
	go func() {
		c := client{addr: s.admin}
		defer c.close()
		_, err := c.do("GET", "/debug/pprof/heap?gc=1", "")
		done <- err
	}()
	return done
}

// TestDamagedStore flips one byte in each file of a store, in turn. The site must be served whatever
// it is, and the ledger have everything, or nothing and say what to do.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	s := startServer(t, witnessSite)
	w := newWitness(s)
	run := func() {
		clicks, sales := w.acknowledged()
		w.start()
		time.Sleep(500 * time.Millisecond)
		eventually(t, startTimeout, func() error { // a busy machine may get nowhere meanwhile
			moreClicks, moreSales := w.acknowledged()
			if moreClicks < clicks+100 || moreSales < sales+20 {
				return fmt.Errorf("%d clicks and %d sales were acknowledged, after %d and %d before", moreClicks, moreSales, clicks, sales)
			}
			return nil
		})
		w.ending.Store(true)
	}
	run()
	s.stop() // which writes a table
	w.stop(t)
	s.start()
	run()
	s.kill() // which leaves a log
	w.stop(t)
	owed := w.claims()

	whole := make(map[string][]byte)
	entries, err := os.ReadDir(s.store)
	if err != nil {
		t.Fatal(err)
	}
	restore := func() {
		for name, data := range whole {
			if err := os.WriteFile(filepath.Join(s.store, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, e := range entries {
		if whole[e.Name()], err = os.ReadFile(filepath.Join(s.store, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	kinds := make(map[string]bool)
	for name, data := range whole {
		kinds[filepath.Ext(name)] = true
		used := len(bytes.TrimRight(data, "\x00")) // logs are made at full size
		places := []int{0, used / 3, used / 2, used - 200, used - 1}
		if filepath.Ext(name) == ".mem" {
			places = places[:3] // damage to the very last write looks like a crash in the middle of it
		}
		for _, at := range places {
			if at < 0 || at >= used {
				continue
			}
			t.Run(fmt.Sprintf("%s at %d of %d", name, at, used), func(t *testing.T) {
				s.t = t
				removeAll(t, s.store)
				restore()
				damaged := bytes.Clone(data)
				damaged[at] ^= 0x10
				if err := os.WriteFile(filepath.Join(s.store, name), damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				s.startDamaged(t, owed, name)
			})
		}
	}
	t.Run("nothing left to know click IDs by", func(t *testing.T) {
		s.t = t
		removeAll(t, s.store)
		restore()
		for _, name := range []string{"store.json", "MANIFEST"} {
			if err := os.WriteFile(filepath.Join(s.store, name), []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s.startDamaged(t, owed, "store.json and the manifest")
		if log := s.logs(); !containsAll(log, "click_id_key") {
			t.Errorf("the log does not say what becomes of click IDs:\n%s", log)
		}
	})
	t.Run("mended", func(t *testing.T) {
		s.t = t
		removeAll(t, s.store)
		restore()
		for name, data := range whole {
			if filepath.Ext(name) == ".sst" {
				damaged := bytes.Clone(data)
				damaged[len(data)/2] ^= 0x10
				if err := os.WriteFile(filepath.Join(s.store, name), damaged, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.mend(t, owed, restore)
	})
	if !kinds[".sst"] || !kinds[".mem"] {
		t.Errorf("no table or no log was there: %v", slices.Sorted(maps.Keys(whole)))
	}
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// startDamaged starts a server on a damaged store and ends it.
func (s *server) startDamaged(t *testing.T, owed claims, file string) {
	t.Helper()
	s.forgetLogs()
	s.start()
	defer s.kill()
	var h struct{ State, Why string }
	decode(t, s.api("/capture/health").body, &h)
	switch h.State {
	case "ok":
		s.verifyTotal(t, owed.verify(t, s))
	case "stopped":
		s.expectStopped(t, owed)
	default:
		t.Errorf("with %s damaged the store is %s: %s", file, h.State, h.Why)
	}
	if t.Failed() {
		t.Logf("the log says\n%s", s.logs())
	}
}

// expectStopped wants a site that is served while its store is not, and returns the ID of a click that
// was made meanwhile.
func (s *server) expectStopped(t *testing.T, owed claims) (id string) {
	t.Helper()
	s.expectState("stopped", "damaged", s.store, "caddy capture restore")
	begin := time.Now()
	id = s.click("/go/"+owed.campaign+"?sub1=while-damaged", "aff_sub")
	if took := time.Since(begin); took > faultyLimit {
		t.Errorf("a redirect took %v", took)
	}
	if a := s.get("/"); a.status != 200 {
		t.Errorf("the site: status %d", a.status)
	}
	stored := slices.Max(slices.Collect(maps.Values(owed.clicks))) // "" is for those that were not acknowledged
	for _, click := range []string{stored, id} {
		a := s.get("/postback?cid=" + click + "&txid=while-damaged&payout=1.00&currency=USD")
		if a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("a postback: status %d %s", a.status, a.body)
		}
		for _, target := range []string{"/capture/report", "/capture/journal", "/capture/clicks/" + click, "/capture/check"} {
			if a := s.api(target); a.status != 503 || !containsAll(a.body, "damaged") {
				t.Errorf("%s: status %d %s", target, a.status, a.body)
			}
		}
	}
	said := 0
	for line := range strings.Lines(s.logs()) {
		if containsAll(line, `"level":"error"`, s.store, "caddy capture restore", "restart Caddy", "mv ") {
			if said++; said == 1 {
				t.Logf("the log says %.900s", line)
			}
		}
	}
	if said == 0 {
		t.Errorf("the log does not say what to do:\n%s", s.logs())
	}
	return id
}

// mend reloads a server that has no store, which changes nothing, and restarts it once the files are
// whole again.
func (s *server) mend(t *testing.T, owed claims, restore func()) {
	t.Helper()
	s.forgetLogs()
	s.start()
	first := s.expectStopped(t, owed)
	restore()
	s.reload(witnessSite + "\n# another configuration\n")
	second := s.expectStopped(t, owed)
	s.stop()

	s.start()
	s.expectState("ok")
	s.verifyTotal(t, owed.verify(t, s))
	// What was minted meanwhile is known to be genuine, and is nobody else's.
	for _, id := range []string{first, second} {
		a := s.get("/postback?cid=" + id + "&txid=late&payout=1.00&currency=USD")
		if a.status != 202 || !containsAll(a.body, "unknown_click") {
			t.Errorf("a postback of a click that was lost: status %d %s", a.status, a.body)
		}
	}
	s.check()
	s.stop()
}
