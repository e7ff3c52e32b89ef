package dashboard

import (
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Source is what the pages need of the running server. All methods are called
// by any number of requests at once.
type Source interface {
	// Reader reads the store; its error says why there is none to read.
	Reader() (capture.Reader, error)
	Health() capture.Health
	// EncodeClick writes a click's ID as the key of that tag signed it.
	EncodeClick(key uint16, ref clickid.Ref) string
	DecodeClick(id string) (clickid.Ref, error)
	// Mask returns the request of an entry with its secrets masked.
	Mask(e *capture.Entry) capture.Raw
	// Follow subscribes to the journal, as [capture.Ledger.Follow] does.
	Follow() (entries <-chan *capture.Entry, stop func())
	Setup() Setup
	// Rates are nil where none are configured.
	Rates() *attribution.Rates
	Rules() *capture.Rules
	Now() time.Time
}

// Setup is the configuration as the page of that name shows it. It holds no
// secret.
type Setup struct {
	// Version is Capture's, Caddy that of the server.
	Version, Caddy string
	// Store says where the records are.
	Store string
	// Open says that the pages are served to everybody who reaches them.
	Open      bool
	Postbacks []PostbackRoute
	Clicks    []ClickRoute
	Findings  []Finding
}

// PostbackRoute is one configured route for postbacks.
type PostbackRoute struct {
	Name     string
	Campaign string
	// Network is the title of the sender, if a preset is used, and Preset the
	// name of that.
	Network, Preset string
	// URL is what to paste into the sender's system, with its macros; a secret
	// in it is masked. It is empty where it cannot be made up, and Problem then
	// says why.
	URL, Problem string
	// Where says where the sender's system wants it.
	Where string
	// Link is what to add to the offer link.
	Link string
	// Checks name what a postback has to pass: token, addresses, verifiers.
	Checks []string
	Notes  []string
}

// ClickRoute is one configured route that tracks clicks.
type ClickRoute struct {
	Campaign     string
	Destinations []string
	// Inject is the parameter that redirects of the rest of the site get.
	Inject string
	// URL is an address that the route takes; Problem says why there is none.
	URL, Problem string
}

// Finding is something in the configuration that is most likely not meant.
type Finding struct {
	Rule, Where, Text string
}
