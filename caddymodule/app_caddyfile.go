package caddymodule

import (
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("capture", parseGlobalOption)
}

func parseGlobalOption(d *caddyfile.Dispenser, previous any) (any, error) {
	if previous != nil {
		d.Next()
		return nil, d.Err("the global option capture is given twice; put everything into one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "capture", Value: caddyconfig.JSON(app, nil)}, nil
}

const (
	appOptions      = "store, click_id_key, retain, rates, window, visitor_address and campaign"
	retainOptions   = "clicks, journal and conversions"
	campaignOptions = "window, payout and dedup"
)

// UnmarshalCaddyfile reads the global option:
//
//	capture {
//		store           badger [<directory>]   # or: postgres <connection string> { schema, spool, spool_size, pool }
//		click_id_key    <secret> ...
//		retain {
//			clicks      <duration>
//			journal     <duration>
//			conversions <duration>
//		}
//		rates           <file>
//		window          <duration>
//		visitor_address full|truncated|none
//		campaign <name> {
//			window <duration>
//			payout <amount> <currency>
//			dedup  txid|click|event
//		}
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // capture
	if d.NextArg() {
		return wrongArgs(d, "capture { ... }")
	}
	once := make(givenOnce)
	for d.NextBlock(0) {
		option := d.Val()
		if option != "campaign" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		var err error
		switch option {
		case "store":
			err = a.readStore(d)
		case "click_id_key":
			a.ClickIDKeys, err = readArgs(d, "<secret> ...")
		case "retain":
			err = a.readRetain(d)
		case "rates":
			if a.RatesFile, err = readArg(d, "<file>"); err == nil && a.RatesFile == "" {
				err = d.Err("rates: the name of the file is empty")
			}
		case "window":
			a.Window, err = readDuration(d, false)
		case "visitor_address":
			if a.VisitorAddress, err = readArg(d, "full|truncated|none"); err == nil {
				_, err = capture.ParseAddressMode(a.VisitorAddress)
				err = at(d, err)
			}
		case "campaign":
			err = a.readCampaign(d)
		default:
			err = d.Errf("unknown option %q of capture; allowed are %s", option, appOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *App) readStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return wrongArgs(d, "store badger [<directory>], or "+postgresUsage)
	}
	engine := d.Val()
	id := "capture.stores." + engine
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("store is %q; allowed is %s", engine, strings.Join(storeNames(), " or "))
	}
	store, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(store, "engine", engine, nil)
	return nil
}

// storeNames lists the stores that this Caddy was built with.
func storeNames() []string {
	var names []string
	for _, m := range caddy.GetModules("capture.stores") {
		names = append(names, m.ID.Name())
	}
	return names
}

func (a *App) readRetain(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return wrongArgs(d, "retain { "+retainOptions+", each with a duration }")
	}
	a.Retain = new(Retention)
	once := make(givenOnce)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once.check(d); err != nil {
			return err
		}
		var err error
		switch option := d.Val(); option {
		case "clicks":
			a.Retain.Clicks, err = readDuration(d, true)
		case "journal":
			a.Retain.Journal, err = readDuration(d, true)
		case "conversions":
			a.Retain.Conversions, err = readDuration(d, true)
		default:
			err = d.Errf("unknown option %q of retain; allowed are %s", option, retainOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *App) readCampaign(d *caddyfile.Dispenser) error {
	name, err := readArg(d, "<name>")
	if err != nil {
		return err
	}
	if name == "" {
		return d.Err("campaign: the name is empty")
	}
	if _, ok := a.Campaigns[name]; ok {
		return d.Errf("campaign %q is given twice", name)
	}
	c := new(Campaign)
	once := make(givenOnce)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once.check(d); err != nil {
			return err
		}
		var err error
		switch option := d.Val(); option {
		case "window":
			c.Window, err = readDuration(d, false)
		case "payout":
			c.Payout, c.Currency, err = readPayout(d)
		case "dedup":
			if c.Dedup, err = readArg(d, "txid|click|event"); err == nil {
				_, err = attribution.ParseDedup(c.Dedup)
				err = at(d, err)
			}
		default:
			err = d.Errf("unknown option %q of campaign; allowed are %s", option, campaignOptions)
		}
		if err != nil {
			return err
		}
	}
	if a.Campaigns == nil {
		a.Campaigns = make(map[string]*Campaign)
	}
	a.Campaigns[name] = c
	return nil
}

// What follows reads the arguments of options; all directives use it.

// givenOnce refuses an option that is given twice: which one holds would be a
// guess.
type givenOnce map[string]struct{}

func (g givenOnce) check(d *caddyfile.Dispenser) error {
	if _, ok := g[d.Val()]; ok {
		return d.Errf("%s is given twice", d.Val())
	}
	g[d.Val()] = struct{}{}
	return nil
}

// at adds the place in the Caddyfile to an error, if there is one.
func at(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

// wrongArgs refuses too few or too many arguments and says how it is written.
// It comes right after the last argument was read.
func wrongArgs(d *caddyfile.Dispenser, written string) error {
	return d.Errf("wrong argument count or unexpected line ending after %q: it is written %s", d.Val(), written)
}

// readArg reads the one argument of an option. What is wanted is for errors.
func readArg(d *caddyfile.Dispenser, wanted string) (string, error) {
	option := d.Val()
	var s string
	if !d.AllArgs(&s) {
		return "", wrongArgs(d, option+" "+wanted)
	}
	return s, nil
}

// readArgs reads the arguments of an option that needs at least one.
func readArgs(d *caddyfile.Dispenser, wanted string) ([]string, error) {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, wrongArgs(d, option+" "+wanted)
	}
	return args, nil
}

// forEver is how a retention without an end is written in JSON.
const forEver = caddy.Duration(-1)

// readDuration reads a duration above zero or, where an option knows no end,
// "forever".
func readDuration(d *caddyfile.Dispenser, orForever bool) (caddy.Duration, error) {
	option := d.Val()
	s, err := readArg(d, "<duration>")
	if err != nil {
		return 0, err
	}
	allowed := "a duration above zero like 30d or 36h"
	if orForever {
		allowed += ", or forever"
		if s == "forever" || s == "-1" {
			return forEver, nil
		}
	}
	v, err := caddy.ParseDuration(s)
	if err != nil || v < time.Millisecond {
		return 0, d.Errf("%s is %q; allowed is %s", option, s, allowed)
	}
	return caddy.Duration(v), nil
}

// readPayout reads an amount and a currency.
func readPayout(d *caddyfile.Dispenser) (amount, currency string, err error) {
	if !d.AllArgs(&amount, &currency) {
		return "", "", wrongArgs(d, "payout <amount> <currency>")
	}
	if _, err := parseMoney(amount, currency); err != nil {
		return "", "", d.Errf("payout is \"%s %s\"; allowed are an amount like 12.50 and a currency like USD: %w",
			amount, currency, err)
	}
	return amount, currency, nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*App)(nil)
