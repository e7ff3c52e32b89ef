package pgstore

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// lookup is what is known of one kind of record, and what is still to be asked.
type lookup[K comparable, V any] struct {
	got  map[K]V
	want map[K]struct{}
}

// get returns what is known under a key; false if that is still to be asked.
func (l *lookup[K, V]) get(key K) (V, bool) {
	v, ok := l.got[key]
	if !ok {
		if l.want == nil {
			l.want = make(map[K]struct{})
		}
		l.want[key] = struct{}{}
	}
	return v, ok
}

func (l *lookup[K, V]) put(key K, v V) {
	if l.got == nil {
		l.got = make(map[K]V)
	}
	l.got[key] = v
}

// settle: what was asked and not answered is not there.
func (l *lookup[K, V]) settle() {
	for key := range l.want {
		if _, ok := l.got[key]; !ok {
			var none V
			l.put(key, none)
		}
	}
	clear(l.want)
}

// The questions that are about more than one thing.
type (
	othersOf struct {
		ref   clickid.Ref
		dedup attribution.Dedup
		limit int
	}
	blockKey struct {
		epoch  uint16
		number uint64
	}
	byTxID struct {
		key   capture.TxKey
		limit int
	}
	repeats struct {
		fingerprint uint64
		limit       int
	}
)

func blockOf(ref clickid.Ref) blockKey { return blockKey{ref.Epoch, ref.Block} }

// reader is what a batch has read of the database. A batch of a thousand
// postbacks has thousands of things to ask, one depending on another; to ask
// each by itself would take a second. So the batch is decided again and again:
// what is not known yet is taken not to be there, and noted; then all of that is
// asked at once, in one round trip; until nothing was missing. Two or three
// passes do, for the questions hardly depend on the answers.
type reader struct {
	s *Store
	// now, if set, makes what is missing be asked at once.
	now func(*pgx.Batch) error

	clicks   lookup[clickid.Ref, *capture.Click]
	far      lookup[clickid.Ref, *capture.Click] // those that are not where their time says
	some     lookup[clickid.Ref, *capture.Conversion]
	erased   lookup[clickid.Ref, time.Time] // zero: it was not
	erasedOf lookup[blockKey, []clickid.Ref]
	others   lookup[othersOf, []attribution.ConversionID]
	byTxID   lookup[byTxID, []attribution.ConversionID]
	convs    lookup[attribution.ConversionID, *capture.Conversion]
	entries  lookup[uint64, *capture.Entry]
	repeated lookup[repeats, []uint64]
	awaiting lookup[byTxID, []uint64]
}

// ask puts all that is missing into a batch; false if nothing is.
func (r *reader) ask(b *pgx.Batch) bool {
	before := b.Len()
	r.askClicks(b)
	r.askErased(b)
	r.askConversions(b)
	r.askEntries(b)
	return b.Len() > before
}

// settle is called when the batch was answered.
func (r *reader) settle() {
	r.clicks.settle()
	r.far.settle()
	r.some.settle()
	r.erased.settle()
	r.erasedOf.settle()
	r.others.settle()
	r.byTxID.settle()
	r.convs.settle()
	r.entries.settle()
	r.repeated.settle()
	r.awaiting.settle()
}

// find is get, and where that is wanted asks at once.
func find[K comparable, V any](r *reader, l *lookup[K, V], key K) (v V, known bool, err error) {
	if v, known = l.get(key); known || r.now == nil {
		return v, known, nil
	}
	var b pgx.Batch
	r.ask(&b)
	if err := r.now(&b); err != nil {
		return v, false, err
	}
	r.settle()
	v, known = l.get(key)
	return v, known, nil
}

// each reads the rows of one statement of a batch.
func each(b *pgx.Batch, sql string, args []any, scan []any, f func() error) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, scan, f)
		return err
	})
}
