package caddymodule

import (
	"fmt"

	"github.com/caddy-capture/caddy-capture/capture"
)

// tally counts what became of entries or lines.
type tally struct {
	Recorded    int `json:"recorded"`
	Updated     int `json:"updated"`
	Duplicate   int `json:"duplicate"`
	Quarantined int `json:"quarantined"`
	Failed      int `json:"failed"`
}

func (t *tally) add(r *resultAnswer) {
	switch {
	case r.Error != "":
		t.Failed++
	case r.Outcome == capture.Recorded:
		t.Recorded++
	case r.Outcome == capture.Updated:
		t.Updated++
	case r.Outcome == capture.Duplicate:
		t.Duplicate++
	case r.Outcome == capture.Quarantined:
		t.Quarantined++
	default:
		t.Failed++
	}
}

func (t *tally) String() string {
	return fmt.Sprintf("%d recorded, %d updated, %d duplicate, %d quarantined, %d failed",
		t.Recorded, t.Updated, t.Duplicate, t.Quarantined, t.Failed)
}

// resultAnswer is what became of an entry or a line: an outcome or an error.
type resultAnswer struct {
	Outcome      capture.Outcome `json:"outcome,omitempty"`
	Reason       capture.Reason  `json:"reason,omitempty"`
	Detail       string          `json:"detail,omitempty"`
	ConversionID string          `json:"conversion_id,omitempty"`
	Error        string          `json:"error,omitempty"`
}

func showResult(r *capture.Result, err error) resultAnswer {
	if err != nil {
		return resultAnswer{Error: err.Error()}
	}
	a := resultAnswer{Outcome: r.Outcome, Reason: r.Reason, Detail: r.Detail}
	if r.Conversion != nil {
		a.ConversionID = r.Conversion.ID.String()
	}
	return a
}
