package caddymodule

import (
	"errors"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// adminReport answers GET /capture/report.
func adminReport(c *adminCall) error {
	q, err := readReportQuery(c)
	if err != nil {
		return badRequest(err)
	}
	report, err := c.lease.ledger.Report(c.r.Context(), q)
	if errors.Is(err, attribution.ErrTooManyRows) {
		return badRequest(err)
	}
	if err != nil {
		return err
	}
	return c.answer(report)
}

func readReportQuery(c *adminCall) (attribution.Query, error) {
	p := readParams(c.r, c.now, "by", "from", "to", "campaign", "source", "tz", "lag")
	q := attribution.Query{
		Location: p.Zone("tz"), Campaign: p.Get("campaign"), Source: p.Get("source"), By: []string{"campaign"},
		Rates: c.app.rates, Lags: p.Flag("lag"),
	}
	if by, ok := p.Values["by"]; ok {
		q.By = nil // an empty one asks for the total only
		for name := range strings.SplitSeq(by[0], ",") {
			if name = strings.TrimSpace(name); name != "" {
				q.By = append(q.By, name)
			}
		}
	}
	q.From, q.To = p.ReportRange(p.Times())
	if p.Err() != nil {
		return q, p.Err()
	}
	return q, q.Validate()
}
