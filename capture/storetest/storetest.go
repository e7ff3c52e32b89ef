// Package storetest is what every store has to pass. It speaks of clicks,
// postbacks and reports, never of keys or bytes, takes its times from the
// batches it makes, and depends on no clock.
package storetest

import (
	"context"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Fixture is an empty place for a store, and what can be done to it.
type Fixture struct {
	Engine capture.Engine
	// Crash, if not nil, does to the open store s what the end of its process
	// would, and returns the engine of what is left: the same place, or a copy
	// of it. The suite closes s at the end of the test.
	Crash func(t *testing.T, s capture.Store) capture.Engine
	// Finally, if not nil, is called at the end of each test: what a store shows
	// by other ways than its methods has to say the same as these.
	Finally func(t *testing.T, s capture.Store)
}

// Run runs the suite. fresh is called for each test and may use t.TempDir.
func Run(t *testing.T, fresh func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *place)
	}{
		{"identity", testIdentity},
		{"position", testPosition},
		{"position after a crash", testCrash},
		{"look-ups", testLookups},
		{"click fields", testClickFields},
		{"record fields", testRecordFields},
		{"outcomes", testOutcomes},
		{"one batch", testOneBatch},
		{"resend", testResend},
		{"failed batch numbers", testSeqGaps},
		{"numbers", testNumbers},
		{"parked and released", testParked},
		{"replayed outside the window", testReplayedOutside},
		{"replayed, misread before", testReplayedMisread},
		{"expired click, known conversion", testKnownOfExpired},
		{"dedup modes", testDedupModes},
		{"dedup switched", testDedupSwitched},
		{"dedup switched, many conversions", testDedupSwitchedMany},
		{"dedup switched, a full click", testDedupSwitchedFull},
		{"corrected", testCorrected},
		{"journal", testJournal},
		{"conversions", testConversions},
		{"conversion moves", testConversionMoves},
		{"quarantine", testQuarantine},
		{"reports", testReports},
		{"filters", testFilters},
		{"test data", testTestData},
		{"sweep clicks", testSweepClicks},
		{"sweep journal", testSweepJournal},
		{"sweep journal, whatever the clock said", testSweepClock},
		{"sweep conversions", testSweepConversions},
		{"whole batches", testWholeBatches},
		{"closed", testClosed},
		{"close during reads", testCloseDuringReads},
		{"largest batch", testLargestBatch},
		{"try", testTry},
		{"export of clicks", testExportClicks},
		{"lags", testLags},
		{"refunds", testRefunds},
		{"by transaction", testByTxID},
		{"ambiguous transaction", testAmbiguousTxID},
		{"refund before its sale", testRefundFirst},
		{"awaiting a sale", testAwaiting},
		{"awaiting, outside the window", testAwaitingOutside},
		{"awaiting, many", testAwaitingMany},
		{"awaiting, several names", testAwaitingNames},
		{"awaiting, kept", testAwaitingKept},
		{"parked for a click", testUnclicked},
		{"many parked for a block", testManyUnclicked},
		{"awaiting, any order", testAwaitingAnyOrder},
		{"transactions of two sites", testTwoSites},
		{"refunds and sales, the last word", testLastWord},
		{"many refunds", testManyRefunds},
		{"refunds kept", testRefundsKept},
		{"try refunds", testTryRefunds},
		{"ignored", testIgnored},
		{"erase", testErase},
		{"erase, replayed", testEraseReplayed},
		{"erase what is being booked", testEraseRace},
		{"erase what is on its way", testEraseLate},
		{"erase, whatever the clock said", testEraseClock},
		{"erase, named later", testEraseNamed},
		{"repeated", testRepeated},
		{"repeated, claims", testRepeatedClaims},
		{"check", testCheck},
		{"backup", testBackup},
		{"backup during commits", testBackupDuringCommits},
		{"restore refused", testRestoreRefused},
		{"model", testModel},
		{"any order", testAnyOrder},
		{"concurrent delivery", testConcurrentDelivery},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fix := fresh(t)
			p := &place{t: t, fix: fix, engine: fix.Engine, fresh: func() Fixture { return fresh(t) }}
			p.open()
			t.Cleanup(func() {
				for _, s := range append(p.left, p.store) {
					_ = s.Close(0) // what fails here was tested elsewhere
				}
			})
			c.test(t, p)
			p.healthy()
			if fix.Finally != nil {
				fix.Finally(t, p.store)
			}
		})
	}
}

func testIdentity(t *testing.T, p *place) {
	first, err := p.engine.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Secret) < 16 {
		t.Errorf("the secret has %d bytes", len(first.Secret))
	}
	p.reopen()
	second, err := p.engine.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if first.Epoch != second.Epoch || string(first.Secret) != string(second.Secret) {
		t.Error("the identity changed with a restart")
	}
	if p.engine.Key() != p.fix.Engine.Key() {
		t.Error("the key of the place changed")
	}
}

func testPosition(t *testing.T, p *place) {
	first := p.store.Position()
	if first.NextSeq == 0 {
		t.Error("the journal begins at 0, which stands for no entry")
	}
	p.lease = first.NextBlock + 5000
	c := p.click()
	p.commit(p.block(c), p.post(c, sale))
	p.reopen()
	pos := p.store.Position()
	if want := (capture.Position{NextBlock: p.next, NextSeq: p.seq, NextBatch: p.batch}); pos != want {
		t.Errorf("after a clean close the position is %+v, want %+v", pos, want)
	}

	// Without a number to go on from, the lease holds.
	p.lease = p.next + 7000
	p.commit(p.block(p.click()))
	p.closeAt(0)
	p.open()
	if got := p.store.Position().NextBlock; got < p.lease {
		t.Errorf("the next block is %d, below the lease of %d", got, p.lease)
	}
}

func testCrash(t *testing.T, p *place) {
	if p.fix.Crash == nil {
		t.Skip("this store cannot crash here")
	}
	p.lease = p.next + 1000
	c := p.click()
	p.commit(p.block(c), p.post(c, sale))
	highest := p.lease
	p.lease = 0
	d := p.click()
	p.commit(p.block(d))
	seq, batch := p.seq, p.batch
	p.crash()
	pos := p.store.Position()
	if pos.NextBlock < highest || pos.NextSeq != seq || pos.NextBatch != batch {
		t.Errorf("the position is %+v; the lease was %d, the next entry %d, the next batch %d", pos, highest, seq, batch)
	}
	p.find(c)
	p.find(d)
	if n := len(p.journal(capture.JournalQuery{})); n != 1 {
		t.Errorf("%d journal entries are left, want 1", n)
	}

	// A lease that outlived a crash is not shortened by the next batch.
	p.commit(p.block(p.click()))
	p.crash()
	if got := p.store.Position().NextBlock; got < highest {
		t.Errorf("the next block is %d, below the lease of %d", got, highest)
	}
	p.find(c)
}

var background = context.Background()
