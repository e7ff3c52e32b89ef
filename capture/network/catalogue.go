package network

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Network is one sender. Those of the catalogue are shared and must not be
// changed. The comment at the head of catalogue.yaml explains each field.
type Network struct {
	Name    string   `yaml:"name" json:"name"`
	Title   string   `yaml:"title" json:"title"`
	Aliases []string `yaml:"aliases" json:"aliases,omitempty"`
	Kind    string   `yaml:"kind" json:"kind"`

	// Method is how messages come: GET, POST, or "GET or POST".
	Method string `yaml:"method" json:"method"`
	// Body is what a POST holds: form, json, or what the owner writes.
	Body string `yaml:"body" json:"body,omitempty"`
	// Style names the brackets of macros, like "{}" or "#"; see [Style].
	Style string `yaml:"style" json:"style,omitempty"`
	// Macros are what to write for a field in the postback URL. A network
	// without macros is a webhook: it decides itself what it sends.
	Macros map[capture.Field]string `yaml:"macros" json:"macros,omitempty"`
	// Extra are further parameters for the URL.
	Extra map[string]string `yaml:"extra" json:"extra,omitempty"`
	// Known are other macros; # at the end stands for a number.
	Known []string `yaml:"known" json:"known,omitempty"`
	// Needed are macros without which the network holds messages back, and
	// which ones.
	Needed map[string]string `yaml:"needed" json:"needed,omitempty"`

	Link    Link   `yaml:"link" json:"link,omitzero"`
	ClickIn string `yaml:"click_in" json:"click_in,omitempty"`

	Fields   map[capture.Field][]string `yaml:"fields" json:"fields,omitempty"`
	Statuses map[string][]string        `yaml:"statuses" json:"statuses,omitempty"`
	Event    string                     `yaml:"event" json:"event,omitempty"`
	Events   []string                   `yaml:"events" json:"events,omitempty"`
	Currency string                     `yaml:"currency" json:"currency,omitempty"`
	Minor    bool                       `yaml:"minor" json:"minor,omitempty"`
	// Shop names the members of a message that the shop fills in, where amounts
	// are not in minor units.
	Shop   []string `yaml:"shop" json:"shop,omitempty"`
	Unwrap string   `yaml:"unwrap" json:"unwrap,omitempty"`
	Kinds  []Kind   `yaml:"kinds" json:"kinds,omitempty"`

	Verify Verify `yaml:"verify" json:"verify,omitzero"`
	Answer Answer `yaml:"answer" json:"answer,omitzero"`
	// MaxBody is the largest message to take, in bytes, where the usual limit is
	// too low; 0 is the usual one.
	MaxBody  int64 `yaml:"max_body" json:"max_body,omitempty"`
	URLLimit int   `yaml:"url_limit" json:"url_limit,omitempty"`

	Setup  string   `yaml:"setup" json:"setup,omitempty"`
	Notes  []string `yaml:"notes" json:"notes,omitempty"`
	Unsure []string `yaml:"unsure" json:"unsure,omitempty"`

	Grade   string `yaml:"grade" json:"grade"`
	Source  string `yaml:"source" json:"source"`
	Checked string `yaml:"checked" json:"checked"`
}

// Link is the parameter of the offer link that takes our click ID.
type Link struct {
	Parameter string `yaml:"parameter" json:"parameter,omitempty"`
	// Also are parameters that would do as well, if the first is taken.
	Also []string `yaml:"also" json:"also,omitempty"`
	// Before are parameters of the link in front of which it has to stand.
	Before []string `yaml:"before" json:"before,omitempty"`
	// Limit is how many characters of a value the network keeps; 0 is unknown.
	Limit int `yaml:"limit" json:"limit,omitempty"`
}

// Verify is how what the network sends can be verified.
type Verify struct {
	// Scheme is the verifier, like hmac or shared_secret; "" is none.
	Scheme string `yaml:"scheme" json:"scheme,omitempty"`
	// Preset is the preset of the scheme hmac.
	Preset string `yaml:"preset" json:"preset,omitempty"`
	// Field holds the secret of the scheme shared_secret; MD5 is what the
	// field is the hash of, if it is not the secret itself.
	Field string `yaml:"field" json:"field,omitempty"`
	MD5   string `yaml:"md5" json:"md5,omitempty"`
	// Env is the environment variable that a configuration takes the secret
	// from; Where is where the network shows it.
	Env   string `yaml:"env" json:"env,omitempty"`
	Where string `yaml:"where" json:"where,omitempty"`
	// Optional says that the network does it only where it is told to.
	Optional bool `yaml:"optional" json:"optional,omitempty"`
}

// Answer is what the network wants to hear.
type Answer struct {
	Status int    `yaml:"status" json:"status,omitempty"`
	Body   string `yaml:"body" json:"body,omitempty"`
	// Only200 says that any other status, even one like 202, makes the network
	// send again or give up.
	Only200 bool `yaml:"only_200" json:"only_200,omitempty"`
}

// Kind is a [capture.Kind] as it is written in the catalogue.
type Kind struct {
	Name     string                     `yaml:"name" json:"name"`
	When     map[string][]string        `yaml:"when" json:"when,omitempty"`
	Unless   map[string][]string        `yaml:"unless" json:"unless,omitempty"`
	Ignore   string                     `yaml:"ignore" json:"ignore,omitempty"`
	Unsigned bool                       `yaml:"unsigned" json:"unsigned,omitempty"`
	Event    string                     `yaml:"event" json:"event,omitempty"`
	Status   string                     `yaml:"status" json:"status,omitempty"`
	Fields   map[capture.Field][]string `yaml:"fields" json:"fields,omitempty"`
	Statuses map[string][]string        `yaml:"statuses" json:"statuses,omitempty"`
	Minor    *bool                      `yaml:"minor" json:"minor,omitempty"`
	Less     []string                   `yaml:"less" json:"less,omitempty"`
	Refund   bool                       `yaml:"refund" json:"refund,omitempty"`
	ByTxID   bool                       `yaml:"by_txid" json:"by_txid,omitempty"`
}

//go:embed catalogue.yaml
var catalogueYAML []byte

// catalogue is read when it is first asked for. The file is part of the
// program, so an error in it is one of the program.
var catalogue = sync.OnceValue(func() []*Network {
	all, err := decode(catalogueYAML)
	if err != nil {
		panic(err)
	}
	return all
})

// decode reads a catalogue. A key that it does not know is an error: it would
// be a fact that silently does nothing.
func decode(text []byte) ([]*Network, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var all []*Network
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("reading the catalogue of networks: %w", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading the catalogue of networks: there is something behind its end")
	}
	for _, n := range all {
		if _, err := statuses(n.Statuses); err != nil {
			return nil, fmt.Errorf("reading the catalogue of networks: %s: %w", n.Name, err)
		}
		for i := range n.Kinds {
			if _, err := n.Kinds[i].compile(); err != nil {
				return nil, fmt.Errorf("reading the catalogue of networks: %s: %w", n.Name, err)
			}
		}
	}
	return all, nil
}

// statuses turns a map of canonical words to a network's words round.
func statuses(words map[string][]string) (map[string]attribution.Status, error) {
	var m map[string]attribution.Status
	for canonical, theirs := range words {
		st, err := attribution.ParseStatus(canonical)
		if err != nil {
			return nil, err
		}
		for _, w := range theirs {
			if m == nil {
				m = make(map[string]attribution.Status)
			}
			m[w] = st
		}
	}
	return m, nil
}

// Webhook tells whether the network decides what it sends, rather than filling
// in macros of a URL that its user writes.
func (n *Network) Webhook() bool { return len(n.Macros) == 0 }

// CarriesClick tells whether there is a known way for a click ID to go to the
// network and come back.
func (n *Network) CarriesClick() bool {
	if n.Macros[capture.FieldClickID] != "" || len(n.Fields[capture.FieldClickID]) > 0 {
		return true
	}
	for i := range n.Kinds {
		if len(n.Kinds[i].Fields[capture.FieldClickID]) > 0 {
			return true
		}
	}
	return false
}
