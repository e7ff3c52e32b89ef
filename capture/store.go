package capture

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Engine is a kind of store at a place, not yet opened. Naming one costs
// nothing and touches nothing.
type Engine interface {
	// Key names the place: configurations whose engines have the same key
	// share one open store. It may read the file system but not change it.
	Key() string
	// Identity returns the store's identity, making it on the first start. It
	// works while the store itself cannot be opened for want of space or
	// because it is damaged, unless the identity is what is damaged.
	Identity() (Identity, error)
	// Open opens the store for this process. Errors wrap ErrLocked,
	// ErrNoSpace, ErrNewerFormat or ErrDamaged where these are the cause and
	// say what to do.
	Open(ctx context.Context) (Store, error)
	// Restore fills an empty place from what Backup wrote. It verifies all of
	// it before it writes anything, and refuses a place that is in use
	// (ErrLocked) or not empty.
	Restore(ctx context.Context, r io.ReadSeeker) error
}

// Identity is what a store is known by for as long as it exists.
type Identity struct {
	// Epoch is part of every click ID and tells stores and nodes apart.
	Epoch uint16
	// Secret signs click IDs unless the configuration names other keys.
	Secret []byte
	// NextBlock is a block number above those of all clicks that are stored;
	// zero if it is not known before the store is opened. While the store
	// cannot be opened, clicks are queued under numbers from there on.
	NextBlock uint64
	// StandIn: this is no store's identity but one that was made up for this
	// process, as the store's own cannot be read. An ID that its secret does
	// not verify may be genuine all the same. Its epoch is 0, which is none.
	StandIn bool
}

// Position is where a store's counters stand when it is opened.
type Position struct {
	// NextBlock is a block number that no click ID ever carried, nor any
	// above it.
	NextBlock uint64
	// NextSeq is the number of the next journal entry.
	NextSeq uint64
	// NextBatch is the number of the next batch. It is [BatchJump] further where
	// another process may have counted batches in the place of this one.
	NextBatch uint64
}

// BatchJump is more batches than there ever are between two openings.
const BatchJump = 1 << 32

// Batch is what one commit makes durable, all of it or nothing.
type Batch struct {
	// Number is one more than that of the batch before. A store that has
	// already applied a batch of this number only fills in the results again.
	Number uint64
	// Now is the time of the commit.
	Now time.Time
	// Lease, if not zero, is a promise that is durable with the batch: block
	// numbers below it may be in use, [Position.NextBlock] is never below it.
	Lease uint64
	// Blocks are the clicks, in order.
	Blocks []*Block
	// Postbacks are decided in order, after the clicks; each gets its Result,
	// and its Seq if that is zero: Commit numbers the journal's entries, as
	// only the store knows which numbers other nodes have given out. A batch
	// that is sent again keeps its numbers.
	Postbacks []*Postback
}

// NumberEntries gives those postbacks that have no number yet the next ones, and
// returns the one after all of them. It is for stores that count by themselves.
func (b *Batch) NumberEntries(next uint64) uint64 {
	for _, p := range b.Postbacks {
		if p.Seq == 0 {
			p.Seq = next
		}
		next = max(next, p.Seq+1)
	}
	return next
}

// Block is the clicks that were packed together. Number is unique for ever;
// a click's slot is its index in Clicks.
type Block struct {
	Number uint64
	Clicks []*Click
}

// Store keeps clicks, conversions, the journal and the sums of reports.
//
// Commit is called by one goroutine at a time (the ledger's committer); all
// other methods by any number at once, also during Commit and Close. After
// Close they return ErrClosed. Readers see a batch whole or not at all. Times
// are kept to the millisecond.
type Store interface {
	// Position returns where the counters stood when the store was opened.
	Position() Position
	// Commit makes a batch durable by way of [Apply]: when it returns nil,
	// all of it survives a crash and a power cut. Its errors wrap one of
	// ErrUnavailable, ErrNoSpace, ErrUnknown, ErrFatal and ErrClosed.
	Commit(ctx context.Context, b *Batch) error
	// Try decides a batch of postbacks as Commit would at this moment, after
	// all that was tried with t before, by way of the function [Try]. It sets
	// their results, and writes nothing.
	Try(ctx context.Context, b *Batch, t *Trial) error
	Reader
	// ClickToBook returns what [Apply] wants to know of a click: Ref, Time,
	// Flags, Campaign, Source, Destination and Subs. What else there is may be
	// left out. Each postback asks it, so it should be quick. ErrNotFound if
	// there is none.
	ClickToBook(ctx context.Context, ref clickid.Ref) (*Click, error)
	// Erase removes what identifies the visitor of a click: from the click
	// itself, its conversions and the journal. Campaign, source, destination,
	// time and money stay, and with them all sums; transaction IDs stay, for
	// they name a sale, by which a refund still finds its conversion. Entries
	// that wait for a click without one, but have a transaction of its
	// conversions, are erased as well. So is what arrived before, by the batches' times,
	// and is committed after it, as by [Entry.ErasedAt]; a store that nobody shares may forget
	// that when it is closed. What is erased is gone from the disk when Erase
	// returns, or with the next Sweep if it says so. ErrNotFound if nothing
	// is known of the click.
	Erase(ctx context.Context, ref clickid.Ref) (Erased, error)
	// Check compares the sums with the records and the indexes with what they
	// lead to. It reads at one moment and changes nothing.
	Check(ctx context.Context, progress func(done, total int64)) (CheckResult, error)
	// Backup writes a consistent copy of the store as of one moment, while
	// serving. Engine.Restore reads it.
	Backup(ctx context.Context, w io.Writer) error
	// Sweep deletes for good what the retention no longer keeps at now, and
	// gives its space back to the disk. It works in small steps, so that
	// commits go on; it stops at the end of ctx.
	Sweep(ctx context.Context, now time.Time, keep Retention) (SweepResult, error)
	// Status tells the state of the store cheaply, from memory.
	Status() StoreStatus
	// Close waits for what is under way and closes the store; next is the
	// first block number that was never handed out, and replaces the lease.
	// Zero leaves the lease as it is.
	Close(next uint64) error
}

// Reader is the reading half of a Store.
type Reader interface {
	// Click returns one click; ErrNotFound if there is none.
	Click(ctx context.Context, ref clickid.Ref) (*Click, error)
	// ClickConversions returns the booked conversions of one click, oldest
	// first. The click itself may be gone already.
	ClickConversions(ctx context.Context, ref clickid.Ref) ([]*Conversion, error)
	// Conversion returns one conversion; ErrNotFound if there is none.
	Conversion(ctx context.Context, id attribution.ConversionID) (*Conversion, error)
	// Entry returns one journal entry; ErrNotFound if there is none.
	Entry(ctx context.Context, seq uint64) (*Entry, error)
	// Clicks calls yield for each click that the query takes, in the order in
	// which they came (oldest first, that is, as far as the clock was not set
	// back), until yield returns false. The Click is only good during the call.
	Clicks(ctx context.Context, q ClickQuery, yield func(*Click) bool) error
	// Conversions calls yield for each booked conversion that the query
	// takes, newest first, until yield returns false.
	Conversions(ctx context.Context, q ConversionQuery, yield func(*Conversion) bool) error
	// Journal calls yield for each entry that the query takes, newest first,
	// until yield returns false.
	Journal(ctx context.Context, q JournalQuery, yield func(*Entry) bool) error
	// Report answers a report. Clicks counted by sub-ID or over a range that
	// does not fall on quarters of an hour are read from the click records,
	// so they reach back only as far as clicks are kept.
	Report(ctx context.Context, q attribution.Query) (attribution.Report, error)
}

// ClickQuery chooses clicks; zero fields choose all.
type ClickQuery struct {
	From, To time.Time // half-open
	Campaign string
	Source   string
	// Test includes test clicks, and only these.
	Test bool
}

// Takes tells whether the query chooses c.
func (q *ClickQuery) Takes(c *Click) bool {
	return (c.Flags&FlagTest != 0) == q.Test &&
		(q.From.IsZero() || !c.Time.Before(q.From)) && (q.To.IsZero() || c.Time.Before(q.To)) &&
		(q.Campaign == "" || c.Campaign == q.Campaign) && (q.Source == "" || c.Source == q.Source)
}

// ConversionQuery chooses conversions; zero fields choose all.
type ConversionQuery struct {
	From, To time.Time // half-open, by the conversion's own time
	Campaign string
	Source   string
	Event    string
	Status   attribution.Status
	// After is the cursor of the last conversion of the page before.
	After Cursor
	// Test includes the conversions of test clicks, and only these.
	Test bool
}

// Cursor is a place between two conversions of a listing.
type Cursor struct {
	Time time.Time
	ID   attribution.ConversionID
}

// Takes tells whether the query chooses c; the cursor and the order are the
// store's to respect.
func (q *ConversionQuery) Takes(c *Conversion) bool {
	at := c.State.Time
	return c.State.Booked && c.Test == q.Test &&
		(q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To)) &&
		(q.Campaign == "" || c.Campaign == q.Campaign) && (q.Source == "" || c.Source == q.Source) &&
		(q.Event == "" || c.State.Event == q.Event) && (q.Status == 0 || c.State.Status == q.Status)
}

// JournalQuery chooses journal entries; zero fields choose all.
type JournalQuery struct {
	From, To time.Time // half-open, by the time of arrival
	Outcome  Outcome
	Reason   Reason
	Route    string
	Campaign string
	// Open chooses what still waits in quarantine.
	Open bool
	// Before is the sequence number of the last entry of the page before;
	// zero starts at the newest.
	Before uint64
}

// Takes tells whether the query chooses e.
func (q *JournalQuery) Takes(e *Entry) bool {
	return (q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To)) &&
		(q.Outcome == "" || e.Outcome == q.Outcome) && (q.Reason == "" || e.Reason == q.Reason) &&
		(q.Route == "" || e.Route == q.Route) && (q.Campaign == "" || e.Campaign == q.Campaign) &&
		(!q.Open || e.Waiting()) && (q.Before == 0 || e.Seq < q.Before)
}

// SweepResult counts what a sweep deleted.
type SweepResult struct {
	Blocks, Entries, Conversions int
}

// Erased counts what Erase changed. Pending says that the disk still holds the
// old data until the next sweep.
type Erased struct {
	Click       bool
	Conversions int
	Entries     int
	Pending     bool
}

// CheckResult is what Check found.
type CheckResult struct {
	Clicks, Conversions, Entries, Sums int64
	// Problems describes what does not agree, the first MaxProblems of them;
	// Wrong counts all.
	Problems []string
	Wrong    int64
}

// MaxProblems bounds the problems that a check describes.
const MaxProblems = 100

// Found notes a problem.
func (r *CheckResult) Found(format string, args ...any) {
	r.Wrong++
	if len(r.Problems) < MaxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// StoreStatus is the state of an open store.
type StoreStatus struct {
	// Writable is false while the disk is too full or after a failure; Why
	// says so in words.
	Writable bool
	Why      string
	// Failed: the store was stopped for good; only a restart helps.
	Failed bool
	// Bytes is what the store takes on disk, Free what the disk has left,
	// Reserve what is kept free.
	Bytes, Free, Reserve int64
	// Quarantine counts by reason what waits in quarantine, test data left
	// out.
	Quarantine map[Reason]int64
	// Alarm, if not empty, says what a person has to see to although the store
	// takes writes.
	Alarm string
	// Spool is nil unless the store is a shared one with a spool.
	Spool *SpoolStatus
}

// SpoolState says where a shared store's clicks and postbacks go.
type SpoolState string

// The states of a spool.
const (
	// SpoolShared: they go to the shared store, and nothing waits.
	SpoolShared SpoolState = "shared"
	// SpoolSpooling: the shared store cannot be reached, so they go to the disk
	// of this machine.
	SpoolSpooling SpoolState = "spooling"
	// SpoolDraining: the shared store is back. They go behind what waits, which
	// is sent in order.
	SpoolDraining SpoolState = "draining"
)

// SpoolStatus is what waits on this machine for the shared store.
type SpoolStatus struct {
	State SpoolState
	// Why says in words what keeps it from being shared.
	Why   string
	Since time.Time
	// Clicks, Postbacks and Bytes wait; Oldest is when the first of them came.
	Clicks, Postbacks int
	Bytes             int64
	Oldest            time.Time
	// RefusedClicks and RefusedPostbacks were set aside, as the shared store
	// refuses them. RefusedWhy is its last reason, RefusedDir where they are.
	RefusedClicks, RefusedPostbacks int
	RefusedWhy, RefusedDir          string
}

// Tx is a store's transaction as [Apply] sees it. What was put is seen by the
// reads that follow. The store keeps indexes and the quarantine in step by
// itself. An error of any method ends the batch, which is then not applied.
type Tx interface {
	// Click returns the click, or nil if there is no record of it. As much as
	// [Store.ClickToBook] does is enough.
	Click(ref clickid.Ref) (*Click, error)
	// PutBlock stores the clicks of one block.
	PutBlock(b *Block) error
	// Any returns one conversion of a click, booked or not, or nil.
	Any(ref clickid.Ref) (*Conversion, error)
	// Others lists, up to limit and in the order of their IDs, the conversions
	// of a click that are [Known.Beside] the rule dedup. It is asked for
	// postbacks of all kinds, so it has to cost nothing worth mentioning where
	// the store knows but one rule; and as a click can have any number of
	// conversions, what it costs must not depend on that.
	Others(ref clickid.Ref, dedup attribution.Dedup, limit int) ([]attribution.ConversionID, error)
	// ByTxID lists, in any order and up to limit, the conversions that have the
	// key among their TxKeys. It may list some that the batch has put without
	// it.
	ByTxID(key TxKey, limit int) ([]attribution.ConversionID, error)
	// Conversion returns one conversion, or nil if there is none.
	Conversion(id attribution.ConversionID) (*Conversion, error)
	// PutConversion stores c; old is what Conversion returned, or nil.
	PutConversion(c, old *Conversion) error
	// AddCounts adds to the sums of one cell.
	AddCounts(cell Cell, c attribution.Counts) error
	// Entry returns one journal entry, or nil if there is none.
	Entry(seq uint64) (*Entry, error)
	// Repeated returns, up to limit and oldest first, the entries in quarantine
	// that e repeats ([Entry.Repeats]). It is asked for every postback that is
	// booked, so it has to cost nothing worth mentioning where there are none.
	Repeated(e *Entry, limit int) ([]*Entry, error)
	// Awaiting returns, up to limit and oldest first, the entries in quarantine
	// that have the key among their [Entry.AwaitedKeys]. It is asked for every
	// postback of some routes, so it has to cost nothing worth mentioning where
	// there are none.
	Awaiting(key TxKey, limit int) ([]*Entry, error)
	// PutEntry stores or replaces a journal entry, and blanks it where
	// [Entry.ErasedAt] does.
	PutEntry(e *Entry) error
}

// Known names one conversion of a click and the rule under which it was made.
type Known struct {
	ID    attribution.ConversionID
	Dedup attribution.Dedup
	// Mixed: another rule, that of a later or an earlier configuration, added a
	// claim that the conversion's own rule would have kept apart.
	Mixed bool
}

// Beside tells whether the ID that the rule dedup makes of a claim may fail to
// lead to this conversion, although the claim is known there.
func (k Known) Beside(dedup attribution.Dedup) bool { return k.Dedup != dedup || k.Mixed }

// CellSpan is the length of time that one cell of the sums covers. All zones
// in use today are whole quarters of an hour away from UTC.
const CellSpan = 15 * time.Minute

// Cell names one sum of reports: a quarter of an hour and the dimensions that
// are always kept.
type Cell struct {
	// Quarter counts CellSpans since 1970.
	Quarter     uint32
	Campaign    string
	Source      string
	Destination string
	// Event is empty for clicks.
	Event string
}

// QuarterOf returns the quarter of an hour of t.
func QuarterOf(t time.Time) uint32 {
	s := t.Unix()
	if s < 0 {
		return 0
	}
	return uint32(s / int64(CellSpan/time.Second)) //nolint:gosec // good until the year 124,000
}

// Time returns the start of the cell's quarter.
func (c Cell) Time() time.Time {
	return time.Unix(int64(c.Quarter)*int64(CellSpan/time.Second), 0).UTC()
}

// Dims returns the cell's dimensions for a report.
func (c Cell) Dims() attribution.Dims {
	return attribution.Dims{Campaign: c.Campaign, Source: c.Source, Destination: c.Destination, Event: c.Event}
}
