package e2e

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"
)

// checkWeights expects three visitors in four on the landing page of weight 3, as closely as chance lets them be: within
// five standard deviations.
func (d *day) checkWeights(t *testing.T) {
	spring, all := 0, 0
	for _, c := range d.oracle.clicks {
		if c.campaign == "shoes-spring" {
			all++
			if strings.Contains(c.destination, "spring.shoes") {
				spring++
			}
		}
	}
	if share := float64(spring) / float64(all); !(math.Abs(share-0.75) < 5*math.Sqrt(0.75*0.25/float64(all))) {
		t.Errorf("%d of %d, a share of %.3f, want 0.75", spring, all, share)
	}
}

func (d *day) checkReports(t *testing.T, middle time.Time) {
	t.Helper()
	for _, a := range d.questions(t, middle) {
		d.checkReport(t, a.question, a.more)
	}
}

// An asked is a question and how the admin API is asked what it does not say by itself.
type asked struct {
	question
	more string
}

func (d *day) questions(t *testing.T, middle time.Time) (all []asked) {
	t.Helper()
	ask := func(q question, more string) { all = append(all, asked{q, more}) }
	for _, by := range []string{
		"", "campaign", "source", "sub.sub1", "sub.sub2", "sub.creative", "sub.placement", "sub.kw", "event", "destination",
		"hour", "day", "month", "campaign,source", "campaign,event", "source,event", "campaign,sub.creative", "day,campaign",
		"hour,source", "sub.sub1,sub.sub2", "destination,event", "event,campaign,source,destination", "month,day,hour,campaign",
	} {
		ask(question{by: dimensions(by)}, "")
	}
	for _, campaign := range []string{"acme", "shoes-spring", "summer sale", "été", "books", "nobody's"} {
		ask(question{by: dimensions("source,event"), campaign: campaign}, "")
	}
	for _, source := range []string{"newsletter", "partner-é", "a&b=c", "mail", "\uFFFD"} {
		ask(question{by: dimensions("campaign,destination"), source: source}, "")
		ask(question{by: dimensions("sub.sub1"), source: source, campaign: "acme"}, "")
	}
	for _, name := range []string{"America/New_York", "Asia/Kolkata", "Pacific/Auckland"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		ask(question{by: dimensions("day,campaign"), zone: zone}, "&tz="+url.QueryEscape(name))
		ask(question{by: dimensions("hour"), zone: zone}, "&tz="+url.QueryEscape(name))
	}
	from := "&from=" + middle.Format(time.RFC3339)
	ask(question{by: dimensions("campaign,event"), from: middle}, from)
	ask(question{by: nil, from: middle}, from)
	tomorrow := time.Now().UTC().AddDate(0, 0, 2)
	ask(question{by: dimensions("campaign"), from: tomorrow}, "&from="+tomorrow.Format("2006-01-02")+"&to="+tomorrow.AddDate(0, 0, 1).Format("2006-01-02"))
	ask(question{by: dimensions("campaign")}, "&from=2026-01-01&to="+tomorrow.Format(time.RFC3339))
	return all
}

func dimensions(by string) []string {
	if by == "" {
		return nil
	}
	return strings.Split(by, ",")
}

// checkReport asks admin API, dashboard and command the same, and compares each with the oracle.
func (d *day) checkReport(t *testing.T, q question, more string) {
	t.Helper()
	query := "by=" + strings.Join(q.by, ",") + more
	if q.by == nil {
		query = strings.TrimPrefix(more, "&")
	}
	if q.campaign != "" {
		query += "&campaign=" + url.QueryEscape(q.campaign)
	}
	if q.source != "" {
		query += "&source=" + url.QueryEscape(q.source)
	}
	got := d.s.report(query)
	rows, total := d.oracle.expected(q)
	if q.by != nil {
		expectRows(t, query, got.Rows, rows)
	}
	if got.Total.String() != total {
		t.Errorf("report %s: total\n got %s\nwant %s", query, got.Total, total)
	}
	d.checkSheets(t, q, query, rows, total)
}

// checkJournal expects an entry for each postback that was not rejected.
func (d *day) checkJournal(t *testing.T) {
	want := outcomes(d.oracle.answers, func(v verdict) bool { return v.outcome != "rejected" })
	got := make(map[string]int)
	for _, e := range d.s.all("/capture/journal") {
		reason, _ := e["reason"].(string)
		got[fmt.Sprint(e["outcome"])+" "+reason]++
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("journal\n got %v\nwant %v", got, want)
	}
	conversions := 0
	for _, c := range d.oracle.clicks {
		conversions += len(c.conversions)
	}
	if got := len(d.s.all("/capture/conversions")); got != conversions {
		t.Errorf("%d conversions listed, want %d", got, conversions)
	}
	if got := len(d.s.all("/capture/journal?outcome=quarantined&reason=bad_payout")); got != want["quarantined bad_payout"] {
		t.Errorf("%d bad payouts listed, want %d", got, want["quarantined bad_payout"])
	}
}

// checkMetrics expects a count for each answer.
func (d *day) checkMetrics(t *testing.T) {
	for key, want := range outcomes(d.oracle.answers, func(verdict) bool { return true }) {
		outcome, reason, _ := strings.Cut(key, " ")
		got := d.s.metric(t, "caddy_capture_postbacks_total", fmt.Sprintf("outcome=%q", outcome), fmt.Sprintf("reason=%q", reason))
		if got != float64(want) {
			t.Errorf("caddy_capture_postbacks_total of %q is %v, want %d", key, got, want)
		}
	}
	if got := d.s.metric(t, "caddy_capture_clicks_total"); got < float64(len(d.oracle.clicks)) {
		t.Errorf("caddy_capture_clicks_total is %v, want %d", got, len(d.oracle.clicks))
	}
}
