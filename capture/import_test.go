package capture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// A desk is a ledger with somebody who imports files into it.
type desk struct {
	t     testing.TB
	l     *capture.Ledger
	codec *clickid.Codec
}

func newDesk(t testing.TB, l *capture.Ledger) *desk {
	t.Helper()
	codec, err := clickid.New(l.Identity().Secret)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{t, l, codec}
}

func (d *desk) click() string {
	d.t.Helper()
	return d.codec.Encode(record(d.t, d.l, "a").Ref)
}

// read imports a file, and says of each answered line what became of it.
func (d *desk) read(format capture.ImportFormat, r io.Reader) (lines []string, err error) {
	d.t.Helper()
	im, err := capture.NewImporter(format, rules, d.codec)
	if err != nil {
		d.t.Fatal(err)
	}
	err = d.l.Import(background, r, im, func(i capture.Imported) bool {
		said := fmt.Sprintf("%d %s %s", i.Line, i.Result.Outcome, i.Result.Reason)
		if i.Err != nil {
			said = fmt.Sprintf("%d error", i.Line)
			if i.Result != (capture.Result{}) {
				d.t.Errorf("line %d has an error and a result: %+v", i.Line, i.Result)
			}
		}
		lines = append(lines, strings.TrimSpace(said))
		return true
	})
	return lines, err
}

func (d *desk) want(format capture.ImportFormat, file string, want ...string) {
	d.t.Helper()
	if got, err := d.read(format, strings.NewReader(file)); err != nil || !slices.Equal(got, want) {
		d.t.Errorf("the lines of\n%s\nare %q, want %q: %v", file, got, want, err)
	}
}

func (d *desk) conversions() (list []*capture.Conversion) {
	d.t.Helper()
	r, err := d.l.Reader()
	if err != nil {
		d.t.Fatal(err)
	}
	err = r.Conversions(background, capture.ConversionQuery{}, func(c *capture.Conversion) bool {
		list = append(list, c)
		return true
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// sums are what a report shows, in short.
func (d *desk) sums() string {
	d.t.Helper()
	c := total(d.t, d.l)
	return fmt.Sprintf("%d: %d pending, %d approved, %d rejected, %d reversed, %v",
		c.Conversions, c.Pending, c.Approved, c.Rejected, c.Reversed, c.Revenue)
}

// Names of sales that are no text stay apart, and one that is written as the
// journal shows it is the same.
func TestImportTxIDs(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		id := d.click()
		d.want(capture.ImportCSV, "click_id,txid,status\n"+id+",o\xe9,\n"+id+",o\xe8,\n"+id+",\"o\xff\",pending\n"+id+`,o\xE9,reversed`,
			"2 recorded", "3 recorded", "4 recorded", "5 updated")
		line := func(txid string) string { return `{"click_id":"` + id + `","txid":` + txid + "}\n" }
		d.want(capture.ImportJSONLines,
			line("\"o\xe8\"")+line(`"o\\xE8"`)+line("\"o\xe7\"")+line(`"\ud800"`)+line(`"\ud801"`)+
				line("{}")+line(`{"txid":"x"}`)+line("[]")+line("true")+line("false")+line("null"),
			"1 duplicate", "2 duplicate", "3 recorded", "4 recorded", "5 recorded",
			"6 error", "7 error", "8 error", "9 error", "10 error", "11 recorded")
		var names []string
		for _, c := range d.conversions() {
			names = append(names, c.State.TxID)
		}
		slices.Sort(names)
		if want := []string{"", `\xED\xA0\x80`, `\xED\xA0\x81`, `o\xE7`, `o\xE8`, `o\xE9`, `o\xFF`}; !slices.Equal(names, want) {
			t.Errorf("the conversions are of %q, want %q", names, want)
		}
	})
}

func TestImportCSV(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		a, b := d.click(), d.click()
		file := "\xef\xbb\xbfClick_ID, txid ,payout,currency,event,status\r\n" +
			a + ",t1,12.50,USD,sale,approved\r\n" +
			"\r\n" +
			strings.ToUpper(a) + ",t2,\"1,234.56\",USD,sale,pending\r\n" +
			b + ",,,,lead,\r\n" +
			a + ",t2,1234.56,USD,sale,approved\r\n" +
			a + ",t1,12.50,USD,sale,approved\r\n" + // twice in the file: what the sender said twice
			a + ",t1,12.50,USD,sale,reversed" // no line break at the end
		d.want(capture.ImportCSV, file,
			"2 recorded", "4 recorded", "5 recorded", "6 updated", "7 duplicate", "8 updated")
		once, entries := d.sums(), len(journal(t, l))
		if !strings.HasPrefix(once, "3: 0 pending, 2 approved, 0 rejected, 1 reversed") || !strings.Contains(once, "1234.56") {
			t.Errorf("the sums are %s", once)
		}
		time.Sleep(time.Hour)
		all := slices.Repeat([]string{"duplicate"}, 6)
		for i, n := range []int{2, 4, 5, 6, 7, 8} {
			all[i] = fmt.Sprintf("%d duplicate", n)
		}
		d.want(capture.ImportCSV, file, all...)
		if again := d.sums(); again != once {
			t.Errorf("imported twice, the sums are %s instead of %s", again, once)
		}
		for _, e := range journal(t, l)[entries:] {
			if e.Route != capture.ImportRoute || e.Authentic == "" || len(e.Raw.Body) == 0 || e.Raw.URI == "" {
				t.Errorf("the journal's entry is %+v", e)
			}
		}
	})
}

func TestImportJSONLines(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		a := d.click()
		file := fmt.Sprintf(`{"click_id":%q,"txid":"t1","payout":12.50,"currency":"USD","status":"pending"}

{"click_id":%[1]q,"txid":1002,"payout":"0.1","currency":"EUR"}
{"click_id":%[1]q,"txid":"t1","status":"approved"
[{"click_id":%[1]q}]
{"click_id":%[1]q,"colour":"red"}
{"click_id":%[1]q,"status":{"is":"approved"}}
"text"
{"click_id":%[1]q,"txid":"t1","payout":12.50,"currency":"USD","status":"approved"}
`, a)
		d.want(capture.ImportJSONLines, file,
			"1 recorded", "3 recorded", "4 error", "5 error", "6 error", "7 error", "8 error", "9 updated")
		once := d.sums()
		d.want(capture.ImportJSONLines, file,
			"1 duplicate", "3 duplicate", "4 error", "5 error", "6 error", "7 error", "8 error", "9 duplicate")
		if again := d.sums(); again != once || !strings.HasPrefix(once, "2: 0 pending, 2 approved") {
			t.Errorf("the sums are %s, then %s", once, again)
		}
	})
}

// TestImportCorrections names conversions instead of clicks.
func TestImportCorrections(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		a := d.click()
		d.want(capture.ImportCSV, "click_id,txid,event,payout,currency\n"+a+",t1,sale,10,USD\n"+a+",t2,sale,20,USD\n",
			"2 recorded", "3 recorded")
		ids := make(map[string]string)
		for _, c := range d.conversions() {
			ids[c.State.TxID] = c.ID.String()
		}
		unknown := attribution.NewConversionID(attribution.DedupTxID, clickid.Ref{}.Key(), 1, "x", "y").String()
		file := "conversion_id,click_id,status,payout,currency\n" +
			ids["t1"] + ",,approved,-2.50,USD\n" +
			strings.ToUpper(ids["t2"]) + ",,reversed,,\n" +
			ids["t1"] + "," + a + ",approved,1,USD\n" + // names both
			unknown + ",,rejected,,\n" +
			"nonsense,,rejected,,\n"
		d.want(capture.ImportCSV, file, "2 updated", "3 updated", "4 error", "5 error", "6 error")
		once := d.sums()
		if !strings.HasPrefix(once, "2: 0 pending, 1 approved, 0 rejected, 1 reversed") || !strings.Contains(once, "-2.5") {
			t.Errorf("the sums are %s", once)
		}
		d.want(capture.ImportCSV, file, "2 duplicate", "3 duplicate", "4 error", "5 error", "6 error")
		if again := d.sums(); again != once || len(d.conversions()) != 2 {
			t.Errorf("the sums are %s, then %s", once, again)
		}
	})
}

// TestImportStopsAtNothing has every broken line between two good ones.
func TestImportStopsAtNothing(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		good := d.click()
		old := d.codec.Encode(clickid.Ref{Epoch: l.Identity().Epoch, Block: 1 << 30, Second: uint32(time.Now().Unix())})
		file, want := "click_id,txid,payout,currency,status,time\n", []string{}
		for i, c := range []struct{ line, said string }{
			{good[:20] + ",t,1,USD,,", "error"},                                      // cut
			{"{aff_sub},t,1,USD,,", "error"},                                         // a macro
			{",t,1,USD,,", "error"},                                                  // no click
			{good + ",t,1.2.3,USD,,", "error"},                                       // no amount
			{good + ",t,1,XYZ,,", "error"},                                           // no currency
			{good + ",t,1,USD,perhaps,", "error"},                                    // no status
			{good + ",t,1,USD,,yesterday", "error"},                                  // no time
			{good + ",t,1", "error"},                                                 // cells are missing
			{good + ",t,1,USD,,,more", "error"},                                      // too many
			{good + ",\"t,1,USD,,", "error"},                                         // an open quote
			{good + ",t\"x,1,USD,,", "error"},                                        // a quote out of place
			{good + "," + strings.Repeat("x", capture.MaxImportLine), "error"},       // too long
			{good + "," + strings.Repeat("x", 3*capture.MaxImportLine), "error"},     // longer than the buffer
			{"\xff\xfe\x00,\x00,1,USD,,", "error"},                                   // no text at all
			{old + ",t,1,USD,,", "quarantined unknown_click"},                        // genuine, and nothing is known of it
			{good + ",t,1,USD,,2031-01-01 00:00:00", "quarantined bad_time"},         // far ahead
			{good + ",longtx" + strings.Repeat("x", 60000) + ",1,USD,,", "recorded"}, // long, but not too long
		} {
			file += c.line + "\n" + fmt.Sprintf("%s,good%d,1,USD,,\n", good, i)
			want = append(want, fmt.Sprintf("%d %s", 2*i+2, c.said), fmt.Sprintf("%d recorded", 2*i+3))
		}
		d.want(capture.ImportCSV, file, want...)
		if got := len(d.conversions()); got != len(want)/2+1 {
			t.Errorf("%d conversions, want %d", got, len(want)/2+1)
		}
	})
}

func TestImportHeader(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		a := d.click()
		for _, header := range []string{
			a + ",t1,10,USD", "click_id,colour", "click_id,txid,click_id", "click_id;txid", "click_id,\"txid", "", "click_id,",
		} {
			file := header + "\n" + a + ",t1\n"
			lines, err := d.read(capture.ImportCSV, strings.NewReader(file))
			if len(lines) > 0 || !errors.Is(err, capture.ErrHeader) {
				t.Errorf("with the header %q the lines are %q: %v", header, lines, err)
			}
		}
		for _, empty := range []string{"", "\n\n", "click_id,txid", "\xef\xbb\xbfclick_id,txid\n\n"} {
			d.want(capture.ImportCSV, empty)
		}
		if n := len(journal(t, l)); n > 0 {
			t.Errorf("the journal has %d entries", n)
		}
	})
}

// TestImportInterrupted breaks an import off in every way, and begins it anew.
func TestImportInterrupted(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		a := d.click()
		var b strings.Builder
		b.WriteString("click_id,txid,payout,currency,status\n")
		const n = 2000
		for i := range n {
			fmt.Fprintf(&b, "%s,t%d,1,USD,%s\n", a, i/2, []string{"pending", "approved"}[i%2])
		}
		file := b.String()
		im := func() *capture.Importer {
			im, err := capture.NewImporter(capture.ImportCSV, rules, d.codec)
			if err != nil {
				t.Fatal(err)
			}
			return im
		}
		all := func(capture.Imported) bool { return true }

		// Somebody has seen enough.
		seen := 0
		err := l.Import(background, strings.NewReader(file), im(), func(capture.Imported) bool {
			seen++
			return seen < 300
		})
		if err != nil || seen != 300 {
			t.Errorf("%d lines were answered: %v", seen, err)
		}
		// The connection breaks.
		broken := errors.New("broken")
		if err := l.Import(background, io.MultiReader(strings.NewReader(file[:len(file)/2]), iotest.ErrReader(broken)), im(), all); !errors.Is(err, broken) {
			t.Errorf("with a broken connection: %v", err)
		}
		// Nobody waits any more.
		ctx, cancel := context.WithCancel(background)
		err = l.Import(ctx, strings.NewReader(file), im(), func(i capture.Imported) bool {
			if i.Line > 700 {
				cancel()
			}
			return true
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		// The store takes nothing for a while.
		commits := 0
		e.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error {
			if commits++; commits == 5 {
				return capture.ErrNoSpace
			}
			return nil
		}})
		if err := l.Import(background, strings.NewReader(file), im(), all); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("without a store: %v", err)
		}
		e.SetHooks(memstore.Hooks{})
		time.Sleep(2 * capture.RetryEvery)

		if err := l.Import(background, strings.NewReader(file), im(), all); err != nil {
			t.Fatal(err)
		}
		if got := d.sums(); !strings.HasPrefix(got, fmt.Sprintf("%d: 0 pending, %[1]d approved", n/2)) {
			t.Errorf("the sums are %s", got)
		}
	})
}

// TestImportWaitsOnce: a line in quarantine is not put there again by the same
// file, and is booked in its place when nothing stands in the way any more.
func TestImportWaitsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		old := d.codec.Encode(clickid.Ref{Epoch: l.Identity().Epoch, Block: 1 << 30, Second: uint32(time.Now().Unix())}) //nolint:gosec // good until 2106
		file := "click_id,txid,payout,currency\n" + old + ",t,1,USD\n" + d.click() + ",t,1,USD\n" + old + ",t,1,USD\n"
		for _, good := range []string{"3 recorded", "3 duplicate", "3 duplicate"} {
			d.want(capture.ImportCSV, file, "2 quarantined unknown_click", good, "4 quarantined unknown_click")
			if got := l.Health().Store.Quarantine[capture.UnknownClick]; got != 2 {
				t.Fatalf("%d lines wait in quarantine, want 2", got)
			}
		}
	})
}
