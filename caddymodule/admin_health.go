package caddymodule

import (
	"net/http"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// healthAnswer is the answer to GET /capture/health.
type healthAnswer struct {
	State      string                   `json:"state"`
	Why        string                   `json:"why"`
	Since      *timestamp               `json:"since,omitempty"`
	Queue      healthQueue              `json:"queue"`
	LastCommit *timestamp               `json:"last_commit,omitempty"`
	LateClicks int64                    `json:"late_clicks"`
	LostClicks int64                    `json:"lost_clicks"`
	Store      healthStore              `json:"store"`
	Quarantine map[capture.Reason]int64 `json:"quarantine"`
	Version    string                   `json:"version"`
}

type healthQueue struct {
	Clicks    int `json:"clicks"`
	Postbacks int `json:"postbacks"`
}

type healthStore struct {
	Writable     bool  `json:"writable"`
	Bytes        int64 `json:"bytes"`
	FreeBytes    int64 `json:"free_bytes"`
	ReserveBytes int64 `json:"reserve_bytes"`
	// Spool is what waits on this machine for a shared store.
	Spool *healthSpool `json:"spool,omitempty"`
}

type healthSpool struct {
	State     capture.SpoolState `json:"state"`
	Why       string             `json:"why,omitempty"`
	Since     *timestamp         `json:"since,omitempty"`
	Clicks    int                `json:"clicks"`
	Postbacks int                `json:"postbacks"`
	Bytes     int64              `json:"bytes"`
	Oldest    *timestamp         `json:"oldest,omitempty"`
	// Refused is what was set aside, as the shared store refuses it.
	Refused *healthRefused `json:"refused,omitempty"`
}

type healthRefused struct {
	Clicks    int    `json:"clicks"`
	Postbacks int    `json:"postbacks"`
	Why       string `json:"why"`
	Directory string `json:"directory"`
}

// health answers GET /capture/health with 200 if all is well and 503 if not,
// with the same body, so that a monitor needs to look at the status only.
func (a adminAPI) health(w http.ResponseWriter, r *http.Request) error {
	if p := readParams(r, time.Now()); p.Err() != nil {
		return badRequest(p.Err())
	}
	app, err := a.app()
	if err != nil {
		return err
	}
	answer := healthAnswer{State: "stopped", Quarantine: map[capture.Reason]int64{}, Version: Version()}
	l, err := app.acquire()
	if err != nil {
		answer.Why = err.Error()
	} else {
		answer.fill(l.ledger.Health())
	}
	status := http.StatusOK
	if answer.State != "ok" {
		status = http.StatusServiceUnavailable
	}
	return writeJSON(w, status, answer)
}

func (a *healthAnswer) fill(h capture.Health) {
	a.State, a.Why = h.State, h.Why
	a.Since, a.LastCommit = optionalTime(h.Since), optionalTime(h.LastCommit)
	a.Queue = healthQueue{Clicks: h.QueuedClicks, Postbacks: h.QueuedPostbacks}
	a.LateClicks, a.LostClicks = h.LateClicks, h.LostClicks
	a.Store = healthStore{
		Writable: h.Store.Writable, Bytes: h.Store.Bytes, FreeBytes: h.Store.Free, ReserveBytes: h.Store.Reserve,
	}
	if p := h.Store.Spool; p != nil {
		a.Store.Spool = &healthSpool{
			State: p.State, Why: p.Why, Since: optionalTime(p.Since),
			Clicks: p.Clicks, Postbacks: p.Postbacks, Bytes: p.Bytes, Oldest: optionalTime(p.Oldest),
		}
		if p.RefusedDir != "" {
			a.Store.Spool.Refused = &healthRefused{p.RefusedClicks, p.RefusedPostbacks, p.RefusedWhy, p.RefusedDir}
		}
	}
	if h.Store.Quarantine != nil {
		a.Quarantine = h.Store.Quarantine
	}
}
