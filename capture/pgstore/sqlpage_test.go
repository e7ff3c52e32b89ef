package pgstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// What docs/sql.md says is so, and its statements do what it says.

// section is what a heading of the page has below it.
type section struct{ heading, text string }

func (s *section) statements() (list []string) {
	for _, m := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(s.text, -1) {
		list = append(list, m[1])
	}
	return list
}

// columns are those of the section's table: names and types.
func (s *section) columns() (list []string) {
	for _, m := range regexp.MustCompile(`(?m)^\| (\w+) \| ([\w ]+) \|`).FindAllStringSubmatch(s.text, -1) {
		if m[1] != "column" {
			list = append(list, m[1]+" "+m[2])
		}
	}
	return list
}

func readPage(t *testing.T) []section {
	t.Helper()
	data, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []section
	for _, part := range regexp.MustCompile(`(?m)^##+ `).Split(string(data), -1)[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		list = append(list, section{heading, text})
	}
	return list
}

// own writes a statement for another schema, with the macros as Grafana replaces
// them.
func own(e *Engine, sql string, from, to time.Time) string {
	sql = regexp.MustCompile(`\bcapture\.`).ReplaceAllString(sql, e.Schema+".")
	sql = strings.ReplaceAll(sql, "SCHEMA capture ", "SCHEMA "+e.Schema+" ")
	quoted := func(t time.Time) string { return "'" + t.UTC().Format(time.RFC3339Nano) + "'" }
	return strings.NewReplacer(
		"$__timeGroupAlias(time, $__interval)", `floor(extract(epoch from time)/86400)*86400 AS "time"`,
		"$__timeFilter(time)", "time BETWEEN "+quoted(from)+" AND "+quoted(to),
		"$__timeFrom()", quoted(from),
	).Replace(sql)
}

func TestPageHasTheColumns(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	views := 0
	for _, s := range readPage(t) {
		name, ok := strings.CutPrefix(s.heading, "capture.")
		if !ok {
			continue
		}
		views++
		rows, err := n.s.read.Query(context.Background(), `SELECT column_name || ' ' || data_type FROM information_schema.columns
WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position`, n.e.Schema, name)
		n.must(err)
		columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
		n.must(err)
		if documented := s.columns(); len(columns) == 0 || !slices.Equal(columns, documented) {
			t.Errorf("%s has\n%q, and the page says\n%q", s.heading, columns, documented)
		}
	}
	if views != 3 {
		t.Errorf("the page has %d views", views)
	}
}

// TestPageRuns makes the roles as the page says, and asks its queries as one of
// them.
func TestPageRuns(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	at := n.aWeek()
	page := readPage(t)
	ctx := context.Background()
	for _, s := range page {
		if strings.HasPrefix(s.heading, "A role") {
			for _, sql := range s.statements() {
				for _, one := range strings.Split(strings.TrimSpace(sql), "\n") {
					_, err := n.s.write.Exec(ctx, own(e, one, at, at))
					n.must(err)
				}
			}
		}
	}
	t.Cleanup(func() {
		n.must(n.s.keep(ctx, `DROP OWNED BY capture_reader`))
		n.must(n.s.keep(ctx, `DROP ROLE grafana, capture_reader`))
	})
	conn := n.as(t, "grafana")
	day := at.Format(time.DateOnly)
	series := fmt.Sprint(at.Unix() / 86400 * 86400)
	want := map[string]string{
		"Revenue, cost and profit by campaign and day": day + " acme EUR 4 0 4; " + day + " acme USD 30 0.5 29.5",
		"Earnings per click by source":                 "news 2 3 150.00 15.0000; blog 1 1 100.00 <nil>",
		"How long conversions take":                    "acme sale 4 01:00:00 03:00:00",
		"Clicks, conversions and revenue by a sub-ID":  "red 2 3 30; <nil> 1 1 0",
		"A time series for Grafana":                    series + " acme 30; " + series + " acme 3",
		"What became of the clicks of an hour":         "",
	}
	for _, s := range page {
		answer, known := want[s.heading]
		if !known {
			continue
		}
		delete(want, s.heading)
		var all []string
		for _, sql := range s.statements() {
			all = append(all, ask(t, conn, own(e, sql, at.Add(-time.Hour), at.Add(20*time.Hour)))...)
		}
		if got := strings.Join(all, "; "); got != answer {
			t.Errorf("%s: the answer is %q, want %q", s.heading, got, answer)
		}
	}
	if len(want) > 0 {
		t.Errorf("the page lacks %v", want)
	}
	readsNoMore(t, n, conn)
}

// aWeek writes some clicks and conversions of two days ago, and returns when.
func (n *node) aWeek() time.Time {
	at := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -2).Add(time.Hour)
	usd := func(text, currency string) attribution.Money {
		a, err := attribution.ParseAmount(text)
		n.must(err)
		return attribution.Money{Amount: a, Currency: attribution.Currency(currency)}
	}
	b := n.block(5)
	for i, c := range b.Clicks {
		c.Time, c.Ref.Second = at.Add(time.Duration(i)*time.Second), uint32(at.Unix())+uint32(i) //nolint:gosec // a few
		c.Subs = []capture.Param{{Name: "creative", Value: "red"}}
	}
	b.Clicks[0].Cost = usd("0.50", "USD")
	b.Clicks[2].Source, b.Clicks[2].Subs = "blog", nil
	b.Clicks[3].Flags, b.Clicks[4].Flags = capture.FlagBot, capture.FlagTest
	var posts []*capture.Postback
	for i, s := range []struct {
		click  int
		pays   attribution.Money
		status attribution.Status
		after  time.Duration
	}{
		{0, usd("10", "USD"), attribution.Approved, time.Hour}, {0, usd("20", "USD"), attribution.Approved, 2 * time.Hour},
		{1, usd("40", "USD"), attribution.Reversed, 3 * time.Hour}, {2, usd("4", "EUR"), attribution.Approved, time.Hour},
		{4, usd("1000", "USD"), attribution.Approved, time.Hour},
	} {
		p := sale(b.Clicks[s.click], fmt.Sprint(i))
		p.Time, p.Claim.Payout, p.Claim.Status = b.Clicks[s.click].Time.Add(s.after), s.pays, s.status
		posts = append(posts, p)
	}
	n.must(n.commit([]*capture.Block{b}, posts...))
	return at
}

// as connects as somebody else.
func (n *node) as(t *testing.T, user string) *pgx.Conn {
	t.Helper()
	c, err := pgx.ParseConfig(n.e.DSN)
	n.must(err)
	c.User = user
	conn, err := pgx.ConnectConfig(context.Background(), c)
	n.must(err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// ask returns the rows, as text.
func ask(t *testing.T, conn *pgx.Conn, sql string) (all []string) {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql, pgx.QueryExecModeSimpleProtocol, pgx.QueryResultFormats{pgx.TextFormatCode})
	if err != nil {
		t.Errorf("%s: %v", sql, err)
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var row []string
		for _, v := range rows.RawValues() {
			text := string(v)
			if v == nil {
				text = "<nil>"
			}
			row = append(row, text)
		}
		all = append(all, strings.Join(row, " "))
	}
	if rows.Err() != nil {
		t.Errorf("%s: %v", sql, rows.Err())
	}
	return all
}

// readsNoMore tries as the role of the page what it must not be able to do, also
// with what was made after the role.
func readsNoMore(t *testing.T, n *node, conn *pgx.Conn) {
	t.Helper()
	late := n.block(1)
	late.Clicks[0].Time = time.Now().AddDate(0, 0, 9)
	late.Clicks[0].Ref.Second = uint32(late.Clicks[0].Time.Unix()) //nolint:gosec // good until 2106
	n.must(n.commit([]*capture.Block{late}))
	denied := func(sql string) {
		_, err := conn.Exec(context.Background(), n.s.q(sql))
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "42501" {
			t.Errorf("%s: %v, want that permission is denied", sql, err)
		}
	}
	_, err := conn.Exec(context.Background(), `SET default_transaction_read_only = off`) // the rights alone have to do
	n.must(err)
	denied(`SELECT secret FROM {s}.store`)
	owner := n.as(t, "postgres")
	relations := ask(t, owner, `SELECT relname, CASE WHEN relkind = 'S' THEN has_sequence_privilege('grafana', oid, 'USAGE,SELECT,UPDATE')
ELSE has_any_column_privilege('grafana', oid, 'SELECT') END, relkind <> 'S' AND (has_any_column_privilege('grafana', oid, 'INSERT,UPDATE,REFERENCES')
OR has_table_privilege('grafana', oid, 'DELETE,TRUNCATE,TRIGGER')) FROM pg_class WHERE relnamespace = '`+n.e.Schema+`'::regnamespace
AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY relname`)
	if len(relations) < 17 {
		t.Errorf("there are only %q", relations)
	}
	for _, r := range relations {
		name, may, _ := strings.Cut(r, " ")
		want := "f f"
		if slices.Contains([]string{"clicks", "conversions", "daily"}, name) {
			want = "t f"
		} else if name != "journal_seq" {
			denied(`SELECT * FROM {s}.` + name)
			denied(`DELETE FROM {s}.` + name)
		}
		if may != want {
			t.Errorf("%s: whether the role may read and write is %q, want %q", name, may, want)
		}
	}
	denied(`UPDATE {s}.conversions SET campaign = ''`)
	denied(`DELETE FROM {s}.conversions`)
	denied(`INSERT INTO {s}.conversions (campaign) VALUES ('')`)
	denied(`CREATE TABLE {s}.mine (a int)`)
	denied(`CREATE VIEW {s}.mine AS SELECT 1`)
	if got := ask(t, owner, n.s.q(`SELECT count(*) FROM {s}.conversions`)); !slices.Equal(got, []string{"4"}) {
		t.Errorf("there are %q conversions left", got)
	}
}
