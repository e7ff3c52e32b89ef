package caddymodule

import (
	"fmt"
	"sync"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// adminBackup answers GET /capture/backup: a consistent copy of the store,
// while it is in use.
func adminBackup(c *adminCall) error {
	if p := readParams(c.r, c.now); p.Err() != nil {
		return badRequest(p.Err())
	}
	c.w.Header().Set("Content-Disposition",
		fmt.Sprintf("attachment; filename=%q", "capture-"+c.now.UTC().Format("20060102T150405Z")+".backup"))
	answer := c.long(typeBinary)
	if answer.headOnly() {
		return nil
	}
	answer.expect(c.lease.ledger.Health().Store.Bytes)
	err := c.lease.ledger.Backup(c.r.Context(), answer)
	if err != nil && !answer.begun {
		c.w.Header().Del("Content-Disposition")
		c.w.Header().Del(estimateHeader)
	}
	return answer.end(err)
}

// checkLine is one line of the answer to GET /capture/check.
type checkLine struct {
	Done   int64          `json:"done"`
	Total  int64          `json:"total"`
	Result *checkFindings `json:"result,omitempty"`
	Error  string         `json:"error,omitempty"`
}

// checkFindings is what a check found.
type checkFindings struct {
	Clicks      int64 `json:"clicks"`
	Conversions int64 `json:"conversions"`
	Entries     int64 `json:"entries"`
	Sums        int64 `json:"sums"`
	// Wrong counts what does not agree; Problems describes the first of it.
	Wrong    int64    `json:"wrong"`
	Problems []string `json:"problems"`
}

// adminCheck answers GET /capture/check: it compares the sums with the records
// and the indexes with what they lead to, and tells how far it has got.
func adminCheck(c *adminCall) error {
	if p := readParams(c.r, c.now); p.Err() != nil {
		return badRequest(p.Err())
	}
	answer := c.long(typeJSONLines)
	if answer.headOnly() {
		return nil
	}
	// A store may count with several goroutines.
	var mu sync.Mutex
	var last checkLine
	var told time.Time
	r, err := c.lease.ledger.Check(c.r.Context(), func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		last.Done, last.Total = done, total
		if time.Since(told) >= flushEvery {
			told = time.Now()
			_ = answer.line(last) // a client that has gone shows in the context
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if err == nil {
		last.Result = showCheck(&r)
		err = answer.line(last)
	}
	return answer.end(err)
}

func showCheck(r *capture.CheckResult) *checkFindings {
	a := &checkFindings{
		Clicks: r.Clicks, Conversions: r.Conversions, Entries: r.Entries, Sums: r.Sums, Wrong: r.Wrong, Problems: r.Problems,
	}
	if a.Problems == nil {
		a.Problems = []string{}
	}
	return a
}
