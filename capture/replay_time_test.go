package capture_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// TestReplayJudgesByArrival books postbacks again long after they arrived: how
// late they were, how old their click was and whether their time could be true
// is judged by when they arrived, not by when the owner got round to it.
func TestReplayJudgesByArrival(t *testing.T) {
	const day = 24 * time.Hour
	judged := *rules
	judged.Window = 30 * day
	for name, c := range map[string]struct {
		after time.Duration // from click to postback
		sent  time.Duration // from postback to the time it names; 0: none
		wait  time.Duration // from postback to replay
		want  capture.Outcome
		why   capture.Reason
		is    time.Duration // from click to conversion
	}{
		"inside the window, replayed outside":       {20 * day, 0, 40 * day, capture.Recorded, "", 20 * day},
		"outside the window":                        {31 * day, 0, day, capture.Quarantined, capture.OutsideWindow, 0},
		"of a click that was kept, replayed later":  {20 * day, 0, 100 * day, capture.Recorded, "", 20 * day},
		"of a click that was too old":               {91 * day, 0, day, capture.Quarantined, capture.ExpiredClick, 0},
		"of the future, which has come":             {day, 3 * day, 10 * day, capture.Quarantined, capture.BadTime, 0},
		"of the near future":                        {day, 20 * time.Hour, 10 * day, capture.Recorded, "", day + 20*time.Hour},
		"of a time inside the window, late to come": {40 * day, -15 * day, 60 * day, capture.Recorded, "", 25 * day},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
				rt := capture.Route{Name: "main", Campaign: "other"}
				if err := rt.Compile(); err != nil {
					t.Fatal(err)
				}
				d := newDesk(t, l)
				query := "click_id=" + d.click() + "&txid=1"
				clicked := time.Now()
				time.Sleep(c.after)
				if c.sent != 0 {
					query += "&time=" + time.Now().Add(c.sent).UTC().Format("2006-01-02T15:04:05Z")
				}
				arrival := func() capture.Arrival {
					return capture.Arrival{Time: time.Now(), Rules: &judged, Codec: d.codec, Secure: true}
				}
				p, rejected := rt.Receive(httptest.NewRequest(http.MethodGet, "/postback?"+query, nil), arrival())
				if rejected != nil {
					t.Fatalf("%+v", rejected)
				}
				if err := l.Book(background, p); err != nil || p.Result.Reason != capture.WrongCampaign {
					t.Fatalf("the postback is %+v: %v", p.Result, err)
				}
				time.Sleep(c.wait)
				rt.Campaign = ""
				reread := func(e *capture.Entry) (*capture.Postback, error) { return rt.Reread(e, arrival()), nil }
				for round := range 2 {
					err := l.Replay(background, capture.JournalQuery{}, round == 0, reread, func(r capture.Replayed) bool {
						if got := r.Result; r.Err != nil || got.Outcome != c.want || got.Reason != c.why {
							t.Errorf("it is %q %q (%s), want %q %q: %v", got.Outcome, got.Reason, got.Detail, c.want, c.why, r.Err)
						}
						return true
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				list := d.conversions()
				if booked := c.want.Booked(); booked != (len(list) == 1) {
					t.Fatalf("there are %d conversions", len(list))
				} else if booked && list[0].State.Time.Sub(clicked).Truncate(time.Second) != c.is {
					t.Errorf("the conversion is of %s after its click, want %s", list[0].State.Time.Sub(clicked), c.is)
				}
			})
		})
	}
}
