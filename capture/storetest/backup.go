package storetest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// healthy checks the store, unless the test has closed it.
func (p *place) healthy() capture.CheckResult {
	p.t.Helper()
	r, err := p.store.Check(background, nil)
	if errors.Is(err, capture.ErrClosed) {
		return r
	}
	p.must(err)
	if r.Wrong > 0 {
		p.t.Errorf("the check found %d problems:\n%s", r.Wrong, strings.Join(r.Problems, "\n"))
	}
	return r
}

func testCheck(t *testing.T, p *place) {
	facts := p.history(rand.New(rand.NewPCG(5, 6)))
	c := p.click()
	p.commit(p.block(c), p.post(c, sale, problem(capture.BadPayout)))
	var last, calls int64
	r, err := p.store.Check(background, func(done, total int64) {
		if calls++; done < last || done > total {
			t.Errorf("the progress went from %d to %d of %d", last, done, total)
		}
		last = done
	})
	p.must(err)
	clicks := int64(0)
	p.must(p.store.Clicks(background, capture.ClickQuery{}, func(*capture.Click) bool { clicks++; return true }))
	p.must(p.store.Clicks(background, capture.ClickQuery{Test: true}, func(*capture.Click) bool { clicks++; return true }))
	if r.Wrong != 0 || r.Clicks != clicks || r.Entries != int64(len(p.journal(capture.JournalQuery{}))) || r.Sums == 0 ||
		r.Conversions < int64(len(p.conversions(capture.ConversionQuery{}))) || calls == 0 || len(facts) == 0 {
		t.Errorf("the check found %+v", r)
	}
	// What was swept is missing from the sums, which is right: the history goes
	// piece by piece, and in between there is more.
	start := time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)
	for i := range 6 {
		cutoff := start.Add(time.Duration(i) * 14 * time.Hour)
		n := p.sweep(cutoff.Add(month), capture.Retention{Clicks: month, Conversions: month, Journal: month})
		if p.healthy(); i > 1 && n == (capture.SweepResult{}) {
			t.Error("nothing was swept: the test proves nothing")
		}
		c, old := p.click(at(cutoff.Add(day))), p.click(at(start.Add(time.Hour)))
		p.commit(p.block(c, old), p.post(c, sale, arrives(cutoff.Add(2*day))))
		p.healthy()
		if i%2 == 1 {
			p.reopen()
		}
	}
}

// everythingIn writes down all that can be read from a store.
func (p *place) everythingIn() string {
	p.t.Helper()
	var b strings.Builder
	for _, test := range []bool{false, true} {
		var clicks []string
		p.must(p.store.Clicks(background, capture.ClickQuery{Test: test}, func(c *capture.Click) bool {
			clicks = append(clicks, name("%+v\n", *c))
			return true
		}))
		slices.Sort(clicks) // where the clock was set back, stores list them in different orders
		b.WriteString(strings.Join(clicks, ""))
		for _, c := range p.conversions(capture.ConversionQuery{Test: test}) {
			b.WriteString(record(c))
		}
	}
	for _, e := range p.journal(capture.JournalQuery{}) {
		b.WriteString(record(e))
	}
	r := p.report(attribution.Query{By: []string{"campaign", "source", "event", "day"}, From: noon.Add(-100 * day), To: noon.Add(100 * day)})
	data, err := r.MarshalJSON()
	p.must(err)
	b.Write(data)
	return b.String()
}

func (p *place) backup() []byte {
	p.t.Helper()
	var file bytes.Buffer
	p.must(p.store.Backup(background, &file))
	if _, err := capture.VerifyBackup(bytes.NewReader(file.Bytes())); err != nil {
		p.t.Fatal(err)
	}
	return file.Bytes()
}

// restored returns an open place with what a backup holds.
func (p *place) restored(t *testing.T, file []byte) *place {
	t.Helper()
	fix := p.fresh()
	q := &place{t: t, fix: fix, engine: fix.Engine, fresh: p.fresh, now: p.now}
	q.must(q.engine.Restore(background, bytes.NewReader(file)))
	q.open()
	t.Cleanup(func() { _ = q.store.Close(0) })
	return q
}

func testBackup(t *testing.T, p *place) {
	p.history(rand.New(rand.NewPCG(7, 8)))
	c := p.telling()
	p.lease = p.next + 3000
	p.commit(p.block(c), p.post(c, sale, tells), p.post(c, sale, tells, problem(capture.BadPayout)))
	p.erase(c.Ref)
	want, quarantine := p.everythingIn(), p.store.Status().Quarantine
	id, err := p.engine.Identity()
	p.must(err)
	file := p.backup()
	later := p.click()
	p.commit(p.block(later))

	q := p.restored(t, file)
	if got := q.everythingIn(); got != want {
		t.Errorf("the restored store has %d bytes, want %d, or others", len(got), len(want))
	}
	again, err := q.engine.Identity()
	p.must(err)
	if again.Epoch != id.Epoch || !bytes.Equal(again.Secret, id.Secret) {
		t.Error("the identity is another")
	}
	if got := q.store.Status().Quarantine; name("%v", got) != name("%v", quarantine) {
		t.Errorf("the quarantine is %v, want %v", got, quarantine)
	}
	pos := q.store.Position()
	if pos.NextSeq != p.seq || pos.NextBlock < p.lease+1<<20 {
		t.Errorf("the position is %+v; the lease was %d, the next entry %d", pos, p.lease, p.seq)
	}
	q.gone(later.Ref)
	q.healthy()

	// It goes on like any store, across the gap in the numbers too.
	d := q.click(at(later.Time))
	q.commit(q.block(d), q.post(d, sale))
	q.want(q.book(q.post(c, status(attribution.Reversed))), capture.Updated, "")
	q.find(d)
	q.gone(later.Ref)
	n := 0
	q.must(q.store.Clicks(background, capture.ClickQuery{}, func(*capture.Click) bool { n++; return true }))
	if total := q.counts(); int64(n) != total.Clicks+total.BotClicks {
		t.Errorf("%d clicks are listed, and %d and %d counted", n, total.Clicks, total.BotClicks)
	}
	q.reopen()
	q.find(d)
	q.healthy()
	q.sweep(noon.Add(500*day), capture.Retention{Clicks: month})
	q.gone(d.Ref)
	if len(q.backup()) == 0 {
		t.Error("a restored store has no backup")
	}
}

// testBackupDuringCommits: each backup is of one moment.
func testBackupDuringCommits(t *testing.T, p *place) {
	var files [][]byte
	var wg sync.WaitGroup
	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end()
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			var file bytes.Buffer
			if err := p.store.Backup(background, &file); err != nil {
				t.Error(err)
				return
			}
			files = append(files, file.Bytes())
		}
	})
	for range 40 {
		b, posts := p.shaped()
		p.commit(b, posts[0], posts[1])
	}
	end()
	step := max(1, len(files)/3)
	for i := 0; i < len(files); i += step {
		q := p.restored(t, files[i])
		q.healthy()
		c := q.counts()
		if n := int64(len(q.journal(capture.JournalQuery{}))); c.Clicks != 3*c.Conversions || n != 2*c.Conversions {
			t.Errorf("backup %d is of no one moment: %+v, %d entries", i, c, n)
		}
	}
}

func testRestoreRefused(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c), p.post(c, sale))
	file := p.backup()
	fix := p.fresh()
	key := fix.Engine.Key()
	refused := func(what string, r io.ReadSeeker, want error) {
		t.Helper()
		if err := fix.Engine.Restore(background, r); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	// Torn and altered, at places spread over the file.
	for at := 0; at < len(file); at += 1 + len(file)/40 {
		refused(name("torn at %d", at), bytes.NewReader(file[:at]), capture.ErrBackupDamaged)
		bad := slices.Clone(file)
		bad[at] ^= 0x10
		if err := fix.Engine.Restore(background, bytes.NewReader(bad)); err == nil {
			t.Errorf("altered at %d: it was restored", at)
		}
	}
	refused("with more behind", bytes.NewReader(append(slices.Clone(file), 'x')), capture.ErrBackupDamaged)
	var other bytes.Buffer
	for what, h := range map[string]capture.BackupHeader{
		"another engine": {Engine: "another", Format: 1},
		"a newer format": {Engine: engineOf(t, file), Format: 1000},
	} {
		other.Reset()
		w, err := capture.NewBackupWriter(&other, h)
		p.must(err)
		p.must(w.Close())
		want := capture.ErrBackupDamaged
		if h.Format > 1 {
			want = capture.ErrNewerFormat
		}
		refused(what, bytes.NewReader(other.Bytes()), want)
	}

	// After all that the place is still empty, so it can be filled.
	p.must(fix.Engine.Restore(background, bytes.NewReader(file)))
	if fix.Engine.Key() != key {
		t.Error("the key of the place changed")
	}
	if err := fix.Engine.Restore(background, bytes.NewReader(file)); err == nil {
		t.Error("a place that is not empty was filled")
	}
	q := &place{t: t, fix: fix, engine: fix.Engine}
	q.open()
	defer q.closeAt(0)
	refused("onto an open store", bytes.NewReader(file), capture.ErrLocked)
	q.find(c)
	if got, want := q.everythingIn(), p.everythingIn(); got != want {
		t.Error("the restored store holds something else")
	}
}

func engineOf(t *testing.T, file []byte) string {
	t.Helper()
	h, err := capture.VerifyBackup(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return h.Engine
}
