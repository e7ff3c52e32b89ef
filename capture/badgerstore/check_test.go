package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// TestCheckFinds breaks one thing after the other behind the store's back.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"), click(day.Add(time.Hour), "spring"))[0]
	sale, waits := postback(c, "1", day.Add(time.Minute)), unknownPostback(5000, day)
	sale.IndexTxID = true
	refund := postback(c, "unsold", day.Add(time.Minute))
	refund.HasRef, refund.ByTxID, refund.TxIDs = false, true, []string{"too"}
	test := click(day, "spring")
	test.Flags = capture.FlagTest
	w.clicks(test)
	w.commit(nil, []*capture.Postback{sale, waits, postback(test, "1", day.Add(time.Minute)), refund})
	awaited := refund.Result.Entry.AwaitedKeys()
	if len(awaited) != 2 {
		t.Fatalf("the refund awaits %x", awaited)
	}
	checkHealthy(t, s)
	conv := sale.Result.Conversion
	other := *conv
	other.ID[0] ^= 1
	richer := *conv
	richer.State.Payout = money("13.50")
	var k keys
	cell := conv.Cell()
	fp, _ := waits.Result.Entry.Fingerprint()
	get := func(txn *transaction, key []byte) []byte {
		data, err := getCopy(txn, key)
		if err != nil || data == nil {
			t.Fatalf("no key %q: %v", key, err)
		}
		return data
	}
	encoded := func(v any) []byte {
		data, err := capture.EncodeRecord(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	set := func(key, value []byte) func(*transaction) error {
		return func(txn *transaction) error { return txn.Set(key, value) }
	}
	remove := func(key []byte) func(*transaction) error {
		return func(txn *transaction) error { return txn.Delete(key) }
	}
	changed := func(change func(*capture.Conversion)) []byte {
		c := *conv
		change(&c)
		return encoded(&c)
	}
	for _, b := range []struct {
		name  string
		spoil func(txn *transaction) error
		says  []string
	}{
		{"a sum is wrong", func(txn *transaction) error {
			data, err := encodeCell(&cell, &attribution.Counts{Conversions: 2, Approved: 2})
			if err != nil {
				return err
			}
			return txn.Set(k.cell(1, &cell, nil), data)
		}, []string{`event "sale"`, `"conversions":2`, `"conversions":1`, "2026-11-20T12:00Z"}},
		{"a sum is gone", remove(k.cell(1, &cell, nil)), []string{`campaign "spring"`, `"conversions":0`, `"USD":"12.50"`}},
		{"a sum too many", func(txn *transaction) error {
			c := capture.Cell{Quarter: capture.QuarterOf(day.Add(-1000 * time.Hour)), Campaign: "ghost"}
			data, err := encodeCell(&c, &attribution.Counts{Clicks: 3})
			if err != nil {
				return err
			}
			return txn.Set(k.cell(1, &c, nil), data)
		}, []string{`"ghost"`, `"clicks":3`}},
		{"a sum under another name", func(txn *transaction) error {
			key := k.cell(1, &cell, nil)
			return txn.Set(append(bytes.Clone(key[:9]), make([]byte, 16)...), get(txn, key))
		}, []string{"another name"}},
		{"a sum that cannot be read", set(append(k.cell(1, &cell, nil)[:9:9], make([]byte, 16)...), []byte{1, 9}), []string{"damaged"}},
		{"a block is gone", remove(k.number(kindBlock, c.Ref.Block)), []string{`"clicks":1`, `"clicks":0`}},
		{"a block that cannot be read", set(k.number(kindBlock, c.Ref.Block), []byte{1, 2, 3}), []string{"click block 1"}},
		{"a block under another number", func(txn *transaction) error {
			return txn.Set(k.number(kindBlock, 2), get(txn, k.number(kindBlock, 1)))
		}, []string{"it says that it is block 1"}},
		{"a block beyond the lease", func(txn *transaction) error {
			return txn.Set(k.number(kindBlock, 1<<30), get(txn, k.number(kindBlock, 1)))
		}, []string{"beyond the lease"}},
		{"a marker is gone", remove(k.quarter(capture.QuarterOf(day))), []string{"no marker of 2026-11-20T12:00Z"}},
		{"a marker is too narrow", set(k.quarter(capture.QuarterOf(day)), span{2, 3}.encode()), []string{"blocks 2 to 3"}},
		{"a conversion is gone", remove(k.conversion(conv.ID)), []string{conv.ID.String(), "not there"}},
		{"a conversion that cannot be read", set(k.conversion(conv.ID), []byte{1}), []string{conv.ID.String(), "decoding"}},
		{"a conversion moved", set(k.conversion(conv.ID), changed(func(c *capture.Conversion) {
			c.State.Time = c.State.Time.Add(time.Hour)
		})), []string{"missing from the listing", "where it does not belong", "history"}},
		{"a conversion changed", set(k.conversion(conv.ID), changed(func(c *capture.Conversion) {
			c.State.Status = attribution.Rejected
		})), []string{"history", `"rejected":1`}},
		{"a conversion in no list", set(k.conversion(other.ID), encoded(&other)), []string{"is not known to its click", "missing from the listing"}},
		{"an index is gone", remove(k.indexOf(conv)), []string{"missing from the listing"}},
		{"a listing that says something else", set(k.indexOf(conv), encodeBooked(&richer)), []string{"what the listing says of it"}},
		{"an index too many", set(k.index(kindBooked, day, other.ID), nil), []string{"listed but not there"}},
		{"a test index too many", set(k.index(kindTest, day, other.ID), nil), []string{"listed but not there"}},
		{"an unbooked index too many", set(k.index(kindUnbooked, day, conv.ID), nil), []string{"where it does not belong"}},
		{"a click's list is gone", remove(k.known(c.Ref, conv.ID)), []string{"is not known to its click"}},
		{"a click's list has too many", func(txn *transaction) error {
			return txn.Set(k.known(c.Ref, other.ID), []byte{0})
		}, []string{other.ID.String(), "not there"}},
		{"a click's list of another rule", set(k.known(c.Ref, conv.ID), []byte{knownMixed}), []string{"under another dedup"}},
		{"a click's list under another", func(txn *transaction) error {
			ref := c.Ref
			ref.Slot++
			return txn.Set(k.known(ref, conv.ID), []byte{0})
		}, []string{"belongs to"}},
		{"a transaction is gone", remove(k.txid(conv.TxKeys[0], conv.ID)), []string{"not found by its transaction"}},
		{"a transaction too many", set(k.txid(capture.TxKey{1}, conv.ID), nil), []string{"which does not have it"}},
		{"a transaction of nothing", set(k.txid(capture.TxKey{1}, other.ID), nil), []string{other.ID.String(), "which is not there"}},
		{"a quarantined entry is gone", remove(k.number(kindEntry, waits.Seq)), []string{"not there"}},
		{"an entry that cannot be read", set(k.number(kindEntry, waits.Seq), []byte{7}), []string{fmt.Sprint("entry ", waits.Seq)}},
		{"an entry beyond the next number", func(txn *transaction) error {
			return txn.Set(k.number(kindEntry, 1000), get(txn, k.number(kindEntry, sale.Seq)))
		}, []string{"beyond the next number", "its record is of entry"}},
		{"the quarantine's listing is gone", remove(k.number(kindWaiting, waits.Seq)), []string{"missing from its listing", "counted as"}},
		{"the quarantine lists too many", set(k.number(kindWaiting, sale.Seq), []byte("bad_time")), []string{"waits no longer", "counted as"}},
		{"an entry is not in its click's list", remove(k.ofClick(c.Ref, sale.Seq)), []string{"missing from the listing of its click"}},
		{"a click's list has an entry too many", set(k.ofClick(c.Ref, 900), nil), []string{`entry 900 is listed under kind 'e' but not there`}},
		{"a click's list has an entry of another", set(k.ofClick(c.Ref, waits.Seq), nil), []string{"where it does not belong"}},
		{"a request would not be found again", remove(k.repeatable(fp, waits.Seq)), []string{"would not be found when it is repeated"}},
		{"a request is found that waits no longer", set(k.repeatable(fp, sale.Seq), nil), []string{"where it does not belong"}},
		{"a refund would not find its sale", remove(k.awaiting(awaited[1], refund.Seq)), []string{"awaits a transaction but would not be found"}},
		{"a refund is found by another sale", set(k.awaiting(capture.TxKey{1}, refund.Seq), nil), []string{"where it does not belong"}},
		{"a sale is found as awaiting one", set(k.awaiting(awaited[0], sale.Seq), nil), []string{"where it does not belong"}},
		{"what awaits a sale is gone", set(k.awaiting(awaited[0], 900), nil), []string{"entry 900 is listed under kind 'k' but not there"}},
		{"a record of a day that is not noted", func(txn *transaction) error {
			return txn.Txn.Set(append(appendDay(nil, 3), "v"...), nil)
		}, []string{"day 3 is not found"}},
		{"a record of another day", func(txn *transaction) error {
			key := k.number(kindEntry, sale.Seq)
			return errors.Join(txn.begin(5, 0), txn.Txn.Set(append(appendDay(nil, 5), key...), get(txn, key)))
		}, []string{`kind 'j' is kept under another day`}},
		{"a day without its mark", func(txn *transaction) error {
			return txn.Txn.Delete(appendDay(nil, dayOf(day)))
		}, []string{"days are noted, but"}},
		{"the quarantine has another reason", set(k.number(kindWaiting, waits.Seq), []byte("bad_time")), []string{`for "bad_time" but waits for "unknown_click"`}},
	} {
		t.Run(b.name, func(t *testing.T) {
			// Broken in a copy, for the next one.
			dir := filepath.Join(t.TempDir(), "store")
			var file bytes.Buffer
			if err := s.Backup(ctx, &file); err != nil {
				t.Fatal(err)
			}
			e := New(dir, nil)
			if err := e.Restore(ctx, bytes.NewReader(file.Bytes())); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, e)
			checkHealthy(t, s)
			s.mu.Lock()
			err := s.write(func(txn *transaction) error {
				if b.name == "a block beyond the lease" {
					if err := txn.Set(keyState, state{s.state.batch, s.state.seq, 100, 1}.encode()); err != nil {
						return err
					}
				}
				return b.spoil(txn)
			})
			s.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Check(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(r.Problems, "\n")
			for _, text := range b.says {
				if !strings.Contains(all, text) {
					t.Errorf("the check says %q, and not %q", all, text)
				}
			}
			if r.Wrong == 0 || r.Wrong != int64(len(r.Problems)) {
				t.Errorf("%d problems", r.Wrong)
			}
			if s.failed() != nil {
				t.Error("the check stopped the store")
			}
		})
	}
}

// TestCheckOfADamagedTable: the table is found and the store stopped, and a
// backup that would lack something is not made.
func TestCheckOfADamagedTable(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	fill(newWriter(t, s), day, 60)
	closeStore(t, s, 0)
	s = openStore(t, e)
	names, _ := filepath.Glob(filepath.Join(e.Dir, "*.sst"))
	if len(names) == 0 {
		t.Fatal("there are no tables")
	}
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, _ = f.ReadAt(b, 5000)
	b[0] ^= 1
	_, _ = f.WriteAt(b, 5000)
	_ = f.Close()
	var file bytes.Buffer
	mustErr(t, s.Backup(ctx, &file), capture.ErrFatal)
	if _, err := capture.VerifyBackup(&file); err == nil {
		t.Error("the backup looks whole")
	}
	r, err := s.Check(ctx, nil)
	if err != nil || r.Wrong == 0 || !strings.Contains(r.Problems[0], filepath.Base(names[0])) {
		t.Errorf("the check found %+v: %v", r, err)
	}
	if st := s.Status(); !st.Failed {
		t.Error("the store goes on with a damaged table")
	}
}
