package caddymodule

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("track_click", parseTrackClick)
	// Before redir a catch-all handle or try_files cannot swallow it; it runs
	// ahead of basic_auth, as links to advertisers are for everybody.
	httpcaddyfile.RegisterDirectiveOrder("track_click", httpcaddyfile.Before, "redir")
}

func parseTrackClick(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	t := new(TrackClick)
	if err := t.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return t, nil
}

const trackClickOptions = "to, inject, campaign, source, sub, keep, pass, cost, status and max_wait"

// UnmarshalCaddyfile reads the directive:
//
//	track_click [<matcher>] [<destination>] {
//		to       <url> [<weight>]
//		inject   <parameter>
//		campaign <name>
//		source   <value>
//		sub      <name> <value>
//		keep     <parameter> ...
//		pass     [<parameter> ...]
//		cost     <amount> [<currency>]
//		status   302|303|307
//		max_wait <duration>
//	}
func (t *TrackClick) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // track_click
	if d.NextArg() {
		t.To = append(t.To, Destination{URL: d.Val()})
		if d.NextArg() {
			return wrongArgs(d, "track_click [<matcher>] [<destination>], and further destinations with to")
		}
	}
	once := make(givenOnce)
	for d.NextBlock(0) {
		option := d.Val()
		if option != "to" && option != "sub" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		if err := t.readOption(d, option); err != nil {
			return err
		}
	}
	if len(t.To) == 0 && t.Inject == "" {
		return d.Err("track_click has no destination: give one after the matcher (a first argument that begins " +
			"with / is the matcher), or to or inject in its block")
	}
	if len(t.To) > 0 && t.Inject != "" {
		return d.Err("track_click has both a destination and inject: with inject, the rest of the site makes the redirect")
	}
	return nil
}

func (t *TrackClick) readOption(d *caddyfile.Dispenser, option string) (err error) {
	switch option {
	case "to":
		return t.readTo(d)
	case "inject":
		t.Inject, err = readArg(d, "<parameter>")
	case "campaign":
		t.Campaign, err = readArg(d, "<name>")
	case "source":
		t.Source, err = readArg(d, "<value>")
	case "sub":
		return t.readSub(d)
	case "keep":
		t.Keep, err = readArgs(d, "<parameter> ...")
	case "pass":
		names := append([]string{}, d.RemainingArgs()...)
		t.Pass = &names
	case "cost":
		return t.readCostArgs(d)
	case "status":
		return t.readStatus(d)
	case "max_wait":
		t.MaxWait, err = readDuration(d, false)
	default:
		return d.Errf("unknown option %q of track_click; allowed are %s", option, trackClickOptions)
	}
	return err
}

func (t *TrackClick) readTo(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return wrongArgs(d, "to <url> [<weight>]")
	}
	to := Destination{URL: args[0]}
	if len(args) == 2 {
		var err error
		if to.Weight, err = strconv.Atoi(args[1]); err != nil || to.Weight < 1 || to.Weight > maxWeight {
			return d.Errf("the weight of to is %q; allowed are whole numbers from 1 to %d", args[1], maxWeight)
		}
	}
	t.To = append(t.To, to)
	return nil
}

func (t *TrackClick) readSub(d *caddyfile.Dispenser) error {
	var sub SubID
	if !d.AllArgs(&sub.Name, &sub.Value) {
		return wrongArgs(d, "sub <name> <value>")
	}
	if !isSubName(sub.Name) {
		return d.Errf("the name of sub is %q; allowed are 1 to 64 characters of a-z, 0-9, _, . and -", sub.Name)
	}
	for _, s := range t.Subs {
		if s.Name == sub.Name {
			return d.Errf("sub %s is given twice", sub.Name)
		}
	}
	t.Subs = append(t.Subs, sub)
	return nil
}

func (t *TrackClick) readCostArgs(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return wrongArgs(d, "cost <amount> [<currency>]")
	}
	t.Cost = args[0]
	if len(args) == 2 {
		t.CostCurrency = args[1]
	}
	return nil
}

func (t *TrackClick) readStatus(d *caddyfile.Dispenser) error {
	s, err := readArg(d, "302|303|307")
	if err != nil {
		return err
	}
	switch s {
	case "302", "303", "307":
		t.Status, err = strconv.Atoi(s)
		return at(d, err)
	case "301", "308", "permanent":
		return d.Errf("status %s is permanent: browsers would cache it and clicks be lost; allowed are 302, 303 and 307", s)
	}
	return d.Errf("status is %q; allowed are 302, 303 and 307", s)
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*TrackClick)(nil)
