package capture_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// answers imports a file and returns the answer to each line, with its detail
// or error.
func (d *desk) answers(file string) (list []string) {
	d.t.Helper()
	im, err := capture.NewImporter(capture.ImportCSV, rules, d.codec)
	if err != nil {
		d.t.Fatal(err)
	}
	err = d.l.Import(background, strings.NewReader(file), im, func(i capture.Imported) bool {
		said := fmt.Sprintf("%s %s", i.Result.Outcome, i.Result.Detail)
		if i.Err != nil {
			said = "error " + i.Err.Error()
		}
		list = append(list, strings.TrimSpace(said))
		return true
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// one imports a file of one line below its header.
func (d *desk) one(header, line string) string {
	d.t.Helper()
	list := d.answers(header + "\n" + line + "\n")
	if len(list) != 1 {
		d.t.Fatalf("the answers are %q", list)
	}
	return list[0]
}

func (d *desk) wantState(id string, status attribution.Status, payout string) {
	d.t.Helper()
	for _, c := range d.conversions() {
		if s := c.State; c.ID.String() == id && (s.Status != status || s.Payout.String() != payout) {
			d.t.Errorf("the conversion is %s %s, want %s %s", s.Status, s.Payout, status, payout)
		}
	}
}

// book imports a conversion and returns its ID.
func (d *desk) book(line string) string {
	d.t.Helper()
	before := make(map[attribution.ConversionID]bool)
	for _, c := range d.conversions() {
		before[c.ID] = true
	}
	if got := d.one("click_id,txid,payout,currency,event,status,time", line); got != "recorded" {
		d.t.Fatalf("the line %q is %q", line, got)
	}
	for _, c := range d.conversions() {
		if !before[c.ID] {
			return c.ID.String()
		}
	}
	d.t.Fatal("there is no new conversion")
	return ""
}

// TestCorrectionOfOneUnderAnotherRule names one of several conversions after
// the rule was changed to one that would not tell them apart.
func TestCorrectionOfOneUnderAnotherRule(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		for range 8 {
			c := d.click()
			one, two := d.book(c+",t1,50,USD,sale,,"), d.book(c+",t2,20,USD,sale,,")
			for _, mode := range []attribution.Dedup{attribution.DedupEvent, attribution.DedupClick} {
				changed := *rules
				changed.Campaigns = map[string]capture.CampaignRules{"acme": {Dedup: mode}}
				im, err := capture.NewImporter(capture.ImportCSV, &changed, d.codec)
				if err != nil {
					t.Fatal(err)
				}
				file := fmt.Sprintf("conversion_id,status,payout,currency\n%s,reversed,%d,USD\n", two, 30+mode)
				err = d.l.Import(background, strings.NewReader(file), im, func(i capture.Imported) bool {
					if i.Err != nil || i.Result.Outcome != capture.Updated || i.Result.Conversion.ID.String() != two {
						t.Errorf("under dedup %s: %+v", mode, i)
					}
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				d.wantState(one, attribution.Approved, "50.00 USD")
				d.wantState(two, attribution.Reversed, fmt.Sprintf("%d.00 USD", 30+mode))
			}
			for _, conv := range d.conversions() {
				if want := map[string]string{one: "t1", two: "t2"}[conv.ID.String()]; want != "" && conv.State.TxID != want {
					t.Errorf("conversion %s is now of %s", want, conv.State.TxID)
				}
			}
		}
	})
}

func TestCorrectionKeepsWhatItDoesNotSay(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		c := d.click()
		id := d.book(c + ",r2,10,USD,rebill,reversed,")
		pending := d.book(c + ",r3,10,USD,rebill,pending,")
		time.Sleep(time.Hour)
		for _, of := range []struct {
			id     string
			status attribution.Status
		}{{id, attribution.Reversed}, {pending, attribution.Pending}} {
			if got := d.one("conversion_id,payout,currency", of.id+",9,USD"); got != "updated" {
				t.Errorf("the correction is %q", got)
			}
			d.wantState(of.id, of.status, "9.00 USD")
		}
		// What its sender says of the status later is still heard, also if it
		// says that it was so before.
		earlier := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
		if got := d.one("click_id,txid,event,status,time", c+",r3,rebill,approved,"+earlier); got != "updated" {
			t.Errorf("the approval is %q", got)
		}
		d.wantState(pending, attribution.Approved, "9.00 USD")
		d.wantState(id, attribution.Reversed, "9.00 USD")

		for line, want := range map[string]string{
			id + ",sale,,approved,": `event is "sale", but the line names a conversion, whose event stays what it is`,
			id + ",,t9,approved,":   `txid is "t9", but the line names a conversion, whose txid stays what it is`,
			id + ",,,,":             "the line names a conversion and nothing to change: name a status, a payout or a time",
			attribution.ConversionID{7}.String() + ",,,approved,": "no conversion " + attribution.ConversionID{7}.String() + " is known",
		} {
			if got := d.one("conversion_id,event,txid,status,payout", line); !strings.HasPrefix(got, "error "+want) {
				t.Errorf("the line %q is %q, want %q", line, got, want)
			}
		}
		d.wantState(id, attribution.Reversed, "9.00 USD")
	})
}

// TestCorrectionIsHeard: what the owner says without a time holds against all
// that was said before, were it of the future.
func TestCorrectionIsHeard(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		d := newDesk(t, l)
		at := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(time.RFC3339) }
		ahead := at(2 * time.Hour)
		id := d.book(d.click() + ",t,10,USD,sale,approved," + ahead)
		const header = "conversion_id,status,payout,currency"
		files := []string{header + "\n" + id + ",reversed,,\n" + id + ",,7,USD\n", header + "\n" + id + ",approved,8,USD\n"}
		for i, want := range []string{"updated updated", "updated"} {
			if got := strings.Join(d.answers(files[i]), " "); got != want {
				t.Errorf("file %d is %q, want %q", i, got, want)
			}
		}
		d.wantState(id, attribution.Approved, "8.00 USD")
		// Twice means nothing more, and says so where something else stands.
		time.Sleep(3 * time.Hour)
		again := d.answers(files[0])
		for i, want := range []string{"duplicate the conversion is approved as of ", "duplicate the payout is 8.00 USD as of "} {
			if !strings.HasPrefix(again[i], want) || !strings.HasSuffix(again[i],
				"; the same line was imported before: to say it again, give it the time from which it is to hold") {
				t.Errorf("line %d is %q, want %q", i, again[i], want)
			}
		}
		if got := d.answers(files[1]); got[0] != "duplicate" {
			t.Errorf("what holds is %q when it is imported again", got)
		}
		d.wantState(id, attribution.Approved, "8.00 USD")
		// With a time it is another line, and has the place of its time.
		now := at(0)
		for _, c := range []struct{ time, want string }{
			{"2000-01-03 00:00:00", "quarantined"},
			{at(-3 * time.Hour), "duplicate the conversion is approved as of "},
			{now, "updated"},
			{now, "duplicate"},
		} {
			if got := d.one("conversion_id,status,time", id+",reversed,"+c.time); !strings.HasPrefix(got, c.want) || c.time == now && got != c.want {
				t.Errorf("of %s the line is %q, want %q", c.time, got, c.want)
			}
		}
		d.wantState(id, attribution.Reversed, "8.00 USD")
		if got := d.one("conversion_id,status", id+",pending"); got != "duplicate the conversion is reversed, which is final: pending does not change it" {
			t.Errorf("a pending correction is %q", got)
		}
	})
}
