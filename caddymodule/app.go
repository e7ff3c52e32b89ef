package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App keeps the ledger of clicks and conversions that the `track_click` and
// `postback` handlers of all sites share. It needs no configuration: without
// any, an embedded store is kept in Caddy's data directory.
type App struct {
	// Where clicks and conversions are kept. Default: the embedded `badger`
	// store in the folder `capture` of Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=capture.stores inline_key=engine"`

	// Secrets that sign click IDs, of at least 16 bytes each. The first one
	// signs, all verify, so a key is changed by putting a new one in front.
	// Placeholders such as `{env.CLICK_ID_KEY}` and `{file./path}` are
	// replaced at start. Default: one made at the first start and kept in the
	// store; that one goes on verifying also when others are set.
	ClickIDKeys []string `json:"click_id_keys,omitempty"`

	// How long records are kept.
	Retain *Retention `json:"retain,omitempty"`

	// The longest time from a click to its conversion. Default: as long as
	// the click is kept.
	Window caddy.Duration `json:"window,omitempty"`

	// How a visitor's address is kept: `full`, `truncated` (the /24 of an
	// IPv4 address, the /48 of an IPv6 address) or `none`. Default:
	// `truncated`.
	VisitorAddress string `json:"visitor_address,omitempty"`

	// A file of exchange rates: CSV lines of currency, rate and date, like
	// `USD,0.92,2026-11-01`, each saying what one unit of the currency is worth
	// from that day (UTC) on. The currency whose rate is 1 on all its lines is
	// the one that is converted to; where several are, the heading names it,
	// like `currency,USD,date`. With it, reports have one converted total beside
	// the sums of each currency. It is read when the configuration is loaded.
	// Placeholders such as `{env.RATES}` are replaced. Default: none.
	RatesFile string `json:"rates_file,omitempty"`

	// What single campaigns do differently, by name. A campaign needs no
	// entry here to be counted.
	Campaigns map[string]*Campaign `json:"campaigns,omitempty"`

	engine  capture.Engine
	store   StoreModule
	rules   *capture.Rules
	rates   *attribution.Rates // nil without a file
	address capture.AddressMode
	keys    [][]byte
	ctx     caddy.Context // for looking at the other apps once all are there
	logger  *zap.Logger
	// storeLog is what the engine logs to. The engine that opens a store
	// serves all configurations that share it, so this outlives this one.
	storeLog *currentLogger

	// held is the lease once it was taken, for readers without the lock.
	held    atomic.Pointer[lease]
	mu      sync.Mutex // guards what follows
	opening *opening   // under way, or nil
	closed  bool
	// postbacks are the routes of this configuration by name.
	postbacks map[string][]*Postback
	findings  []Finding
}

// Retention says how long each kind of record is kept. What has expired is
// deleted once a day.
type Retention struct {
	// How long clicks are kept. Default: 90 days. `-1` keeps them for ever.
	Clicks caddy.Duration `json:"clicks,omitempty"`
	// How long the journal of postbacks is kept. Default: 400 days. `-1`
	// keeps it for ever.
	Journal caddy.Duration `json:"journal,omitempty"`
	// How long conversions are kept: as long as clicks or longer, for what is
	// forgotten sooner would be booked twice when a sender repeats it.
	// Default: for ever.
	Conversions caddy.Duration `json:"conversions,omitempty"`
}

// Campaign is what one campaign does differently.
type Campaign struct {
	// The longest time from a click to its conversion. Default: the global
	// window.
	Window caddy.Duration `json:"window,omitempty"`
	// What a conversion earns where its postback carries no payout, for
	// example `12.50`.
	Payout string `json:"payout,omitempty"`
	// The ISO 4217 currency of the payout.
	Currency string `json:"currency,omitempty"`
	// What makes two postbacks speak of the same conversion: `txid` (the same
	// click, event and transaction ID), `event` (the same click and event) or
	// `click`. Default: `txid`.
	Dedup string `json:"dedup,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "capture", New: func() caddy.Module { return new(App) }}
}

// StoreModule is implemented by the modules in the namespace capture.stores.
type StoreModule interface {
	// Engine returns the store's engine; it must neither open nor create
	// anything.
	Engine(logger *zap.Logger) capture.Engine
}

// Provision reads the configuration. It opens nothing: `caddy validate` runs
// it beside a serving process.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	store, err := a.loadStore(ctx)
	if err != nil {
		return err
	}
	a.storeLog = newCurrentLogger(a.logger)
	a.store = store
	a.engine = store.Engine(a.storeLog.logger("capture.store"))

	if a.address, err = capture.ParseAddressMode(a.VisitorAddress); err != nil {
		return err
	}
	if a.rules, err = a.readRules(); err != nil {
		return err
	}
	if a.rates, err = loadRates(a.RatesFile); err != nil {
		return err
	}
	if a.keys, err = resolveSecrets(a.ClickIDKeys); err != nil {
		return fmt.Errorf("click_id_key %w", err)
	}
	if len(a.keys) > 0 {
		if _, err := clickid.New(a.keys...); err != nil {
			return fmt.Errorf("click_id_key: %w", err)
		}
	}
	return registerMetrics(ctx.GetMetricsRegistry())
}

// loadStore loads the module of the store. It opens nothing.
func (a *App) loadStore(ctx caddy.Context) (StoreModule, error) {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"engine":"badger"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the store module: %w", err)
	}
	store, ok := mod.(StoreModule)
	if !ok {
		return nil, fmt.Errorf("module %T is not a store", mod)
	}
	return store, nil
}

// resolveSecrets replaces the placeholders of secrets. Its errors begin with
// the number of the secret and never contain one.
func resolveSecrets(secrets []string) ([][]byte, error) {
	repl := caddy.NewReplacer()
	var resolved [][]byte
	for i, s := range secrets {
		v, err := resolveSecret(repl, s)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
		resolved = append(resolved, []byte(v))
	}
	return resolved, nil
}

// resolveSecret replaces the placeholders of a secret; one that is unknown or
// empty is an error, so that a forgotten variable never becomes the secret.
// The error names the placeholder and nothing that it stands for.
func resolveSecret(repl *caddy.Replacer, s string) (string, error) {
	v, err := repl.ReplaceOrErr(s, true, true)
	if err != nil {
		return "", fmt.Errorf("replacing placeholders: %w", err)
	}
	if v == "" {
		return "", errors.New("the secret is empty")
	}
	return v, nil
}

func (a *App) readRules() (*capture.Rules, error) {
	r := &capture.Rules{
		Retain: capture.Retention{Clicks: capture.DefaultRetainClicks, Journal: capture.DefaultRetainJournal},
		Window: time.Duration(a.Window),
	}
	if a.Retain != nil {
		set := func(dst *time.Duration, v caddy.Duration) {
			switch {
			case v < 0:
				*dst = 0
			case v > 0:
				*dst = time.Duration(v)
			}
		}
		set(&r.Retain.Clicks, a.Retain.Clicks)
		set(&r.Retain.Journal, a.Retain.Journal)
		set(&r.Retain.Conversions, a.Retain.Conversions)
	}
	if err := r.Retain.Validate(); err != nil {
		return nil, fmt.Errorf("retain: %w", err)
	}
	if r.Window < 0 {
		return nil, fmt.Errorf("window is %s; it must not be negative", r.Window)
	}
	for name, c := range a.Campaigns {
		rules, err := c.rules()
		if err != nil {
			return nil, fmt.Errorf("campaign %q: %w", name, err)
		}
		if r.Campaigns == nil {
			r.Campaigns = make(map[string]capture.CampaignRules)
		}
		r.Campaigns[name] = rules
	}
	return r, nil
}

func (c *Campaign) rules() (capture.CampaignRules, error) {
	var r capture.CampaignRules
	if c == nil {
		return r, nil
	}
	r.Window = time.Duration(c.Window)
	if r.Window < 0 {
		return r, fmt.Errorf("window is %s; it must not be negative", r.Window)
	}
	var err error
	if c.Dedup != "" {
		if r.Dedup, err = attribution.ParseDedup(c.Dedup); err != nil {
			return r, err
		}
	}
	if c.Payout != "" || c.Currency != "" {
		if r.Payout, err = parseMoney(c.Payout, c.Currency); err != nil {
			return r, fmt.Errorf("payout: %w", err)
		}
	}
	return r, nil
}

// parseMoney reads an amount and a currency of the configuration.
func parseMoney(amount, currency string) (attribution.Money, error) {
	var m attribution.Money
	var err error
	if m.Amount, err = attribution.ParseAmount(amount); err != nil {
		return m, err
	}
	m.Currency, err = attribution.ParseCurrency(currency)
	return m, err
}

// addPostback notes a route, so that what waits in quarantine can be read
// again by it.
func (a *App) addPostback(p *Postback) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.postbacks == nil {
		a.postbacks = make(map[string][]*Postback)
	}
	a.postbacks[p.Name] = append(a.postbacks[p.Name], p)
}

// secretParams lists the parameters of all routes that hold secrets.
func (a *App) secretParams() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for _, routes := range a.postbacks {
		for _, p := range routes {
			names = append(names, p.route.SecretParams()...)
		}
	}
	return names
}

// Start opens the store, or takes it over from the configuration before.
func (a *App) Start() error {
	for name := range a.Campaigns {
		campaignLabels.name(name)
	}
	a.lint(a.ctx)
	l, err := a.acquire()
	if err != nil {
		return err
	}
	return l.noWorse()
}

// Stop gives the handlers of events a moment where the server ends. The store
// is left to Cleanup: the servers of this configuration may still be draining.
func (a *App) Stop() error {
	if l := a.held.Load(); l != nil {
		l.events.flush(a)
	}
	return nil
}

// Cleanup gives back what was taken, and only that: a configuration that is
// refused must not take the store away from the one that is running.
//
// The lease stays usable: requests of this configuration may still be under
// way, and after a reload their store is open still. Where it is not, the
// ledger says so itself.
func (a *App) Cleanup() error {
	a.mu.Lock()
	first := !a.closed
	a.closed = true
	under := a.opening
	a.mu.Unlock()
	if under != nil {
		<-under.done
	}
	l := a.held.Load()
	switch {
	case !first:
		return nil
	case l != nil:
		return l.release()
	case a.rules != nil:
		if validated(a.ctx) {
			a.lint(a.ctx)
		}
		a.logger.Info("the store was not opened: the configuration was checked and not started")
	}
	return nil
}

// validated tells whether a configuration ended because it was only checked,
// and was found good: caddy.Validate says so as the cause.
func validated(ctx caddy.Context) bool {
	if ctx.Context == nil {
		return false
	}
	cause := context.Cause(ctx)
	return cause != nil && cause.Error() == "validation complete"
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
