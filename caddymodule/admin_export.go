package caddymodule

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// formatJSONLines is, beside formatCSV, the form of exports and imports.
const formatJSONLines = "jsonl"

// export is one kind of records that can be exported.
type export struct {
	header []string
	// run reads the records and gives each as JSON and as CSV; put returns
	// false when the client has gone.
	run func(e *exporter, reader capture.Reader) error
}

// exports are what GET /capture/export/<what> knows.
var exports = map[string]export{
	"clicks":      {exportClickHeader, (*exporter).clicks},
	"conversions": {exportConversionHeader, (*exporter).conversions},
	"journal":     {exportEntryHeader, (*exporter).journal},
}

// exporter is one export under way.
type exporter struct {
	c        *adminCall
	from, to time.Time
	campaign string
	answer   *longAnswer
	csv      *csv.Writer // nil for JSON lines
	err      error       // why the client got no more
}

// adminExport answers GET /capture/export/<what>. What is exported is the
// state of one moment, record by record, so it takes little memory.
func adminExport(c *adminCall) error {
	what := c.r.PathValue("what")
	kind, ok := exports[what]
	if !ok {
		return apiErrorf(http.StatusNotFound, "there is no export of %q: use clicks, conversions or journal", what)
	}
	p := readParams(c.r, c.now, "from", "to", "campaign", "format", "tz")
	p.Zone("tz")
	e := &exporter{c: c, campaign: p.Get("campaign")}
	e.from, e.to = p.Times()
	switch format := p.Get("format"); format {
	case "", formatCSV:
		e.answer = c.long(typeCSV)
		e.csv = csv.NewWriter(e.answer)
	case formatJSONLines:
		e.answer = c.long(typeJSONLines)
	default:
		p.Fail("format is %q: use csv or jsonl", format)
	}
	if p.Err() != nil {
		return badRequest(p.Err())
	}
	reader, err := c.lease.ledger.Reader()
	if err != nil {
		return err
	}
	if e.answer.headOnly() {
		return nil
	}
	e.answer.expect(e.estimate(what, reader))
	if e.csv != nil {
		_ = e.csv.Write(kind.header) // its errors are asked for at the end
	}
	if err = kind.run(e, reader); err == nil {
		err = e.err
	}
	if err == nil && e.csv != nil {
		e.csv.Flush()
		err = e.csv.Error()
	}
	return e.answer.end(err)
}

// put writes one record; false when the client has gone.
func (e *exporter) put(v any, cells func() []string) bool {
	if e.csv == nil {
		e.err = e.answer.line(v)
		return e.err == nil
	}
	row := cells()
	for i := range row {
		row[i] = csvCell(row[i])
	}
	e.err = e.csv.Write(row)
	return e.err == nil
}

var exportClickHeader = []string{
	"id", "time", "campaign", "source", "destination", "url", "cost", "currency", "host", "path", "user_agent",
	"referer", "address", "flags", "subs", "kept",
}

func (e *exporter) clicks(reader capture.Reader) error {
	q := capture.ClickQuery{From: e.from, To: e.to, Campaign: e.campaign}
	return reader.Clicks(e.c.r.Context(), q, func(c *capture.Click) bool {
		a := clickFields{ID: e.c.lease.codec().EncodeAs(c.Key, c.Ref)}
		a.fill(c)
		return e.put(a, func() []string {
			cost, currency := "", ""
			if c.Cost.Currency != "" {
				cost, currency = c.Cost.Format(), string(c.Cost.Currency)
			}
			return []string{
				a.ID, stampCell(a.Time.Time), a.Campaign, a.Source, a.Destination, a.URL, cost, currency, a.Host, a.Path,
				a.UserAgent, a.Referer, a.Address, strings.Join(a.Flags, " "), jsonCell(a.Subs), jsonCell(a.Kept),
			}
		})
	})
}

var exportConversionHeader = []string{
	"id", "click_id", "click_time", "time", "campaign", "source", "destination", "event", "txid", "status", "payout",
	"currency", "lag_seconds", "dedup", "subs",
}

func (e *exporter) conversions(reader capture.Reader) error {
	q := capture.ConversionQuery{From: e.from, To: e.to, Campaign: e.campaign}
	return reader.Conversions(e.c.r.Context(), q, func(c *capture.Conversion) bool {
		a := e.c.lease.showConversion(c)
		return e.put(a, func() []string {
			return []string{
				a.ID, a.ClickID, stampCell(a.ClickTime.Time), stampCell(a.Time.Time), a.Campaign, a.Source, a.Destination,
				a.Event, a.TxID, a.Status, a.Payout, a.Currency, strconv.FormatInt(a.LagSeconds, 10), a.Dedup, jsonCell(a.Subs),
			}
		})
	})
}

var exportEntryHeader = []string{
	"seq", "time", "route", "outcome", "reason", "detail", "click_id", "conversion_id", "campaign", "event", "txid",
	"status", "payout", "currency", "sent_at", "authentic", "sender", "resolved", "replays", "test",
	"method", "host", "uri", "content_type", "user_agent", "body", "body_base64",
	"host_base64", "uri_base64", "content_type_base64", "user_agent_base64",
}

func (e *exporter) journal(reader capture.Reader) error {
	q := capture.JournalQuery{From: e.from, To: e.to, Campaign: e.campaign}
	return reader.Journal(e.c.r.Context(), q, func(entry *capture.Entry) bool {
		a := e.c.lease.showEntry(entry)
		return e.put(a, func() []string {
			sent := ""
			if a.SentAt != nil {
				sent = stampCell(a.SentAt.Time)
			}
			test := ""
			if a.Test {
				test = "1"
			}
			raw := &a.Raw
			return []string{
				strconv.FormatUint(a.Seq, 10), stampCell(a.Time.Time), a.Route, string(a.Outcome), string(a.Reason), a.Detail,
				a.ClickID, a.ConversionID, a.Campaign, a.Event, a.TxID, a.Status, a.Payout, a.Currency, sent, a.Authentic,
				a.Sender, numberCell(a.Resolved), numberCell(a.Replays), test,
				raw.Method, raw.Host, raw.URI, raw.ContentType, raw.UserAgent, raw.Body,
				base64Cell(raw.BodyBase64), base64Cell(raw.HostBase64), base64Cell(raw.URIBase64),
				base64Cell(raw.ContentTypeBase64), base64Cell(raw.UserAgentBase64),
			}
		})
	})
}

func base64Cell(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// stampCell writes a time as precisely as it is kept.
func stampCell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func numberCell(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// jsonCell puts an object into one cell; an empty one is left out.
func jsonCell(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Sprint(m) // cannot happen: strings only
	}
	return string(data)
}
