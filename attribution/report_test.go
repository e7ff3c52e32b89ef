package attribution

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestQueryValidate(t *testing.T) {
	t.Parallel()
	ok := Query{By: []string{"campaign", "source", "event", "destination", "hour", "day", "month", "sub.a", "sub.b"}, From: at(0), To: at(1)}
	if err := ok.Validate(); err != nil || !ok.NeedsSub() {
		t.Error(err)
	}
	for name, q := range map[string]Query{
		"unknown":  {By: []string{"country"}, From: at(0), To: at(1)},
		"case":     {By: []string{"Day"}, From: at(0), To: at(1)},
		"empty":    {By: []string{""}, From: at(0), To: at(1)},
		"sub":      {By: []string{"sub."}, From: at(0), To: at(1)},
		"repeated": {By: []string{"day", "day"}, From: at(0), To: at(1)},
		"no range": {},
		"no time":  {From: at(1), To: at(1)},
	} {
		if err := q.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestQueryAligned(t *testing.T) {
	t.Parallel()
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	quarter := 15 * time.Minute
	for _, name := range []string{"UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Chatham", "Pacific/Apia"} {
		q := Query{By: []string{"hour", "day"}, From: year(2012), To: year(2030), Location: zone(t, name)}
		if !q.Aligned(quarter) {
			t.Errorf("%s: not aligned to 15 minutes", name)
		}
	}
	for name, c := range map[string]struct {
		q      Query
		bucket time.Duration
		want   bool
	}{
		"no time dimension":      {Query{By: []string{"source"}, From: at(0), To: at(15), Location: zone(t, "Asia/Kathmandu")}, quarter, true},
		"from between":           {Query{From: at(1), To: at(15)}, quarter, false},
		"to between":             {Query{From: at(0), To: at(15).Add(1)}, quarter, false},
		"whole hours":            {Query{By: []string{"hour"}, From: at(0), To: at(60)}, time.Hour, true},
		"half hours":             {Query{By: []string{"hour"}, From: at(0), To: at(60), Location: zone(t, "Asia/Kolkata")}, time.Hour, false},
		"bucket beyond an hour":  {Query{By: []string{"hour"}, From: year(2020), To: year(2021)}, 24 * time.Hour, false},
		"days":                   {Query{By: []string{"day"}, From: year(2020), To: year(2021)}, 24 * time.Hour, true},
		"days elsewhere":         {Query{By: []string{"day"}, From: year(2020), To: year(2021), Location: zone(t, "Europe/Berlin")}, 24 * time.Hour, false},
		"half-hour clock change": {Query{By: []string{"day"}, From: year(2020), To: year(2021), Location: zone(t, "Australia/Lord_Howe")}, time.Hour, false},
		"mean time":              {Query{By: []string{"day"}, From: year(1850), To: year(2021), Location: zone(t, "Europe/Berlin")}, quarter, false},
		"clocks set at 00:01":    {Query{By: []string{"day"}, From: year(2010), To: year(2011), Location: zone(t, "America/St_Johns")}, quarter, false},
		"uneven bucket":          {Query{By: []string{"hour"}, From: time.Unix(0, 0), To: time.Unix(420, 0)}, 7 * time.Minute, false},
		"no bucket":              {Query{From: at(0), To: at(15)}, 0, false},
	} {
		if got := c.q.Aligned(c.bucket); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestRepeatedHourIsTwoRows(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"Europe/Berlin":    {"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"},
		"America/New_York": {"2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"},
	} {
		loc := zone(t, name)
		first, err := time.Parse(time.RFC3339, want[0])
		if err != nil {
			t.Fatal(err)
		}
		b := NewBuilder(Query{By: []string{"hour", "day", "month"}, From: first, To: first.Add(2 * time.Hour), Location: loc})
		for _, minute := range []time.Duration{90, 59, 0, -1, 120} {
			b.Add(Dims{}, first.Add(minute*time.Minute), Counts{Clicks: 1})
		}
		r := b.Report()
		var got []string
		for _, row := range r.Rows {
			got = append(got, row.Keys[0])
		}
		if !slices.Equal(got, want) || r.Total.Clicks != 3 || r.Rows[0].Clicks != 2 {
			t.Errorf("%s: got %v, %+v", name, got, r.Total)
		}
		if day := first.Format("2006-01-02"); r.Rows[0].Keys[1] != day || r.Rows[0].Keys[2] != day[:7] {
			t.Errorf("%s: got %v", name, r.Rows[0].Keys)
		}
	}
}

func TestReportJSON(t *testing.T) {
	t.Parallel()
	b := NewBuilder(Query{By: []string{"campaign", "sub.x"}, From: at(0), To: at(10)})
	sale := State{Booked: true, Status: Approved, Payout: usd(12), HasPayout: true}
	b.Add(Dims{Campaign: "b", Sub: strings.ToUpper}, at(0), Counts{Clicks: 1, Cost: Totals{"USD": usd(1).Amount}})
	b.Add(Dims{Campaign: `a"`}, at(9), sale.Counts())
	b.Add(Dims{Campaign: "gone"}, at(9), Counts{Clicks: 1})
	b.Add(Dims{Campaign: "gone"}, at(9), Counts{Clicks: -1})
	got, err := json.Marshal(b.Report())
	if err != nil {
		t.Fatal(err)
	}
	const none = `"pending":0,"approved":0,"rejected":0,"reversed":0,"revenue":{}`
	want := `{"from":"2026-03-01T12:00:00Z","to":"2026-03-01T12:10:00Z","by":["campaign","sub.x"],"rows":[` +
		`{"campaign":"a\"","sub.x":"","clicks":0,"bot_clicks":0,"conversions":1,"pending":0,"approved":1,"rejected":0,"reversed":0,"revenue":{"USD":"12.00"},"cost":{}},` +
		`{"campaign":"b","sub.x":"X","clicks":1,"bot_clicks":0,"conversions":0,` + none + `,"cost":{"USD":"1.00"}}],` +
		`"total":{"clicks":1,"bot_clicks":0,"conversions":1,"pending":0,"approved":1,"rejected":0,"reversed":0,"revenue":{"USD":"12.00"},"cost":{"USD":"1.00"}}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back Report
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(back); err != nil || string(again) != want {
		t.Errorf("came back as %s, %v", again, err)
	}
	if got, _ := json.Marshal(NewBuilder(Query{From: at(0), To: at(1)}).Report()); !strings.Contains(string(got), `"by":[],"rows":[],"total":{"clicks":0`) {
		t.Errorf("empty report: %s", got)
	}
	for _, bad := range []string{`{"by":["day"],"rows":[{}]}`, `{"by":["day"],"rows":[{"day":1}]}`, `{"rows":[1]}`, `[]`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
	if _, err := json.Marshal(Report{By: []string{"day"}, Rows: []Row{{}}}); err == nil {
		t.Error("a row without its keys was written")
	}
}

// The builder gives what counting by formatted text gives, in every zone.
func TestBuilderFollowsModel(t *testing.T) {
	t.Parallel()
	zones := []*time.Location{nil, zone(t, "Europe/Berlin"), zone(t, "Asia/Kathmandu"), zone(t, "Australia/Lord_Howe"), zone(t, "America/St_Johns")}
	layouts := map[string]string{"day": "2006-01-02", "month": "2006-01", "hour": "2006-01-02T15:00:00Z07:00"}
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.Permutation([]string{"campaign", "source", "event", "destination", "hour", "day", "month", "sub.a"}).Draw(t, "dimensions")
		word := rapid.SampledFrom([]string{"", "a", "b", "a\x00", "\x01a"})
		q := Query{
			By: all[:rapid.IntRange(0, 4).Draw(t, "n")], From: noon.AddDate(-30, 0, 0), To: noon.AddDate(1, 0, 0),
			Campaign: rapid.SampledFrom([]string{"", "a"}).Draw(t, "filter"), Location: rapid.SampledFrom(zones).Draw(t, "zone"),
		}
		loc := q.Location
		if loc == nil {
			loc = time.UTC
		}
		b := NewBuilder(q)
		want, total := map[string]int64{}, int64(0)
		for range rapid.IntRange(0, 30).Draw(t, "adds") {
			when := time.Unix(noon.Unix()-rapid.Int64Range(-400, 31*366).Draw(t, "day")*86400+rapid.Int64Range(0, 86400).Draw(t, "s"), 0)
			d := Dims{word.Draw(t, "c"), word.Draw(t, "s"), word.Draw(t, "d"), word.Draw(t, "e"), func(s string) string { return "sub " + s }}
			b.Add(d, when, Counts{Clicks: 1, Revenue: Totals{"USD": usd(1).Amount}})
			if when.Before(q.From) || !when.Before(q.To) || q.Campaign != "" && q.Campaign != d.Campaign {
				continue
			}
			total++
			var key []string
			for _, name := range q.By {
				v := map[string]string{"campaign": d.Campaign, "source": d.Source, "event": d.Event, "destination": d.Destination, "sub.a": "sub a"}[name]
				if layout := layouts[name]; layout != "" {
					v = when.In(loc).Format(layout)
				}
				key = append(key, v)
			}
			want[fmt.Sprintf("%q", key)]++
		}
		r := b.Report()
		money := Money{r.Total.Revenue["USD"], "USD"}
		if r.Total.Clicks != total || !money.Equal(usd(int(total))) {
			t.Fatalf("total %+v, want %d", r.Total, total)
		}
		if len(q.By) == 0 {
			if len(r.Rows) != 0 {
				t.Fatalf("rows without dimensions: %v", r.Rows)
			}
			return
		}
		if len(r.Rows) != len(want) {
			t.Fatalf("%d rows, want %d", len(r.Rows), len(want))
		}
		for _, row := range r.Rows {
			if n := want[fmt.Sprintf("%q", row.Keys)]; n != row.Clicks || !(Money{row.Revenue["USD"], "USD"}).Equal(usd(int(n))) {
				t.Fatalf("row %q: got %+v, want %d", row.Keys, row.Counts, n)
			}
		}
	})
}

func TestCounts(t *testing.T) {
	t.Parallel()
	paid := State{Booked: true, Status: Approved, Payout: usd(3), HasPayout: true}
	var sum Counts
	for _, s := range []State{paid, paid, {Booked: true, Status: Pending, Payout: usd(3), HasPayout: true}, {Status: Approved}} {
		sum.Add(s.Counts())
	}
	if sum.Conversions != 3 || sum.Approved != 2 || sum.Pending != 1 || !sum.Revenue["USD"].Equal(usd(6).Amount) {
		t.Errorf("got %+v", sum)
	}
	before := sum.Clone()
	sum.Sub(before)
	if !sum.IsZero() || before.IsZero() {
		t.Errorf("got %+v, %+v", sum, before)
	}
}

func TestBuilderAddDoesNotAllocate(t *testing.T) {
	b := NewBuilder(Query{By: []string{"campaign", "hour", "day", "sub.a"}, From: at(0), To: at(100), Location: zone(t, "Europe/Berlin")})
	d := Dims{Campaign: "acme", Sub: func(string) string { return "x" }}
	if n := testing.AllocsPerRun(100, func() { b.Add(d, at(5), Counts{Clicks: 1}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBuilderAdd(b *testing.B) {
	for _, by := range [][]string{nil, {"campaign"}, {"campaign", "day"}, {"campaign", "source", "hour", "sub.a"}} {
		b.Run(strings.Join(by, ","), func(b *testing.B) {
			builder := NewBuilder(Query{By: by, From: at(0), To: at(10000), Location: zone(b, "Europe/Berlin")})
			d := Dims{Campaign: "acme", Source: "newsletter", Sub: func(string) string { return "x" }}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				builder.Add(d, at(i%10000), Counts{Clicks: 1})
			}
		})
	}
}
