package dashboard

import (
	"net/http"

	"github.com/caddy-capture/caddy-capture/capture"
)

// setupPage is what the template of the setup shows.
type setupPage struct {
	Setup
	Health capture.Health
	Rules  *capture.Rules
	// Rates is the currency that is converted to, "" without rates.
	Rates string
	// Steps are what to do next.
	Steps []step
}

// step is one thing to do, with the command for it.
type step struct {
	Text, Command string
}

// setup answers /setup.
func (h *Handler) setup(c *call) error {
	p := readParams(c.r.URL.Query(), c.now, "tz")
	c.zone(p.zone(), p.Loc)
	if err := p.refusal(); err != nil {
		return err
	}
	s := &setupPage{Setup: h.src.Setup(), Health: h.src.Health(), Rules: h.src.Rules()}
	if rates := h.src.Rates(); rates != nil {
		s.Rates = string(rates.Base())
	}
	s.Steps = nextSteps(s)
	return c.render(http.StatusOK, "setup", "Setup", s)
}

// nextSteps says what is left to do, the most pressing first.
func nextSteps(s *setupPage) []step {
	var steps []step
	if s.Health.State != "ok" {
		steps = append(steps, step{"The store needs you: see what it says above.", "caddy capture health"})
	}
	if len(s.Clicks) == 0 {
		steps = append(steps, step{"No link is tracked yet: add a track_click to a site.", "track_click /go/acme https://acme.example/offer?aff_sub={click_id}"})
	}
	if len(s.Postbacks) == 0 {
		steps = append(steps, step{"No conversion can be reported yet: add a postback route to a site.", "postback /postback"})
	}
	if len(s.Findings) > 0 {
		steps = append(steps, step{"The configuration has findings: look at each of them above.", ""})
	}
	if len(s.Clicks) > 0 && len(s.Postbacks) > 0 {
		steps = append(steps, step{"Send a test click and its postback through the live server.", "caddy capture test"})
	}
	if len(s.Health.Store.Quarantine) > 0 {
		steps = append(steps, step{"Look at what waits in quarantine, and book it again when its cause is mended.", "caddy capture replay --dry-run"})
	}
	steps = append(steps, step{"Keep a copy of the store elsewhere.", "caddy capture backup capture-backup"})
	return steps
}
