package network

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

var (
	goodName    = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	goodEnv     = regexp.MustCompile(`^[A-Z0-9_]+$`)
	goodChecked = regexp.MustCompile(`^20[0-9]{2}-(0[1-9]|1[0-2])(-[0-3][0-9])?$`)
	goodParam   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
)

// The catalogue is data, so this is its compiler.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	all := All()
	if !slices.IsSortedFunc(all, func(a, b *Network) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the catalogue is not sorted by name")
	}
	taken := make(map[string]string)
	for _, n := range all {
		for _, name := range n.names() {
			key := fold(name)
			if other, ok := taken[key]; ok && other != n.Name {
				t.Errorf("%s: %q finds %s as well", n.Name, name, other)
			}
			taken[key] = n.Name
		}
		t.Run(n.Name, func(t *testing.T) {
			t.Parallel()
			checkEntry(t, n)
			checkMacros(t, n)
			checkReading(t, n)
			checkProof(t, n)
		})
	}
}

func checkEntry(t *testing.T, n *Network) {
	t.Helper()
	if !goodName.MatchString(n.Name) || n.Title == "" {
		t.Errorf("name %q, title %q", n.Name, n.Title)
	}
	if !slices.Contains([]string{"network", "white label", "program", "checkout", "offerwall", "measurement"}, n.Kind) {
		t.Errorf("kind %q", n.Kind)
	}
	if !slices.Contains([]string{"GET", "POST", "GET or POST"}, n.Method) {
		t.Errorf("method %q", n.Method)
	}
	if strings.Contains(n.Method, "POST") != (n.Body != "") || !slices.Contains([]string{"", "form", "json", "own"}, n.Body) {
		t.Errorf("method %q with body %q", n.Method, n.Body)
	}
	if n.Grade != "A" && n.Grade != "B" || n.Source == "" || !goodChecked.MatchString(n.Checked) {
		t.Errorf("grade %q, source %q, checked %q", n.Grade, n.Source, n.Checked)
	}
	if n.Link.Parameter == "" && n.ClickIn == "" && n.Macros[capture.FieldClickID] == "" {
		t.Error("nothing says how the click ID gets there")
	}
	for _, p := range append(slices.Clone(n.Link.Also), n.Link.Parameter) {
		if p != "" && !goodParam.MatchString(p) {
			t.Errorf("link parameter %q", p)
		}
	}
	if n.Link.Limit != 0 && n.Link.Limit < minClickID {
		t.Errorf("the link parameter keeps %d characters, too few for a click ID", n.Link.Limit)
	}
	if !n.CarriesClick() && n.ClickIn == "" {
		t.Error("no message carries a click ID, and no word of why")
	}
	if n.Currency != "" {
		if c, err := attribution.ParseCurrency(n.Currency); err != nil || string(c) != n.Currency {
			t.Errorf("currency %q: %v", n.Currency, err)
		}
	}
	for _, text := range append(append(slices.Clone(n.Notes), n.Unsure...), n.Setup, n.ClickIn, n.Source) {
		if strings.ContainsAny(text, "\n\t") || text != strings.TrimSpace(text) {
			t.Errorf("text %q: it goes into one line", text)
		}
	}
	if n.NeedsCurrency() && !slices.ContainsFunc(n.Notes, func(s string) bool { return strings.Contains(s, "`currency`") }) {
		t.Error("no note says that the route needs a currency")
	}
}

func checkMacros(t *testing.T, n *Network) {
	t.Helper()
	style, ok := styleOf(n.Style)
	if n.Webhook() {
		if n.Style != "" || len(n.Known)+len(n.Extra)+len(n.Needed) > 0 {
			t.Error("a webhook has no macros, so neither a style nor known ones")
		}
		return
	}
	if !ok {
		t.Fatalf("style %q is none", n.Style)
	}
	if n.Macros[capture.FieldClickID] == "" {
		t.Error("no macro for the click ID")
	}
	seen := make(map[string]bool)
	for _, text := range n.texts() {
		if seen[text] {
			t.Errorf("macro %s is there twice", text)
		}
		seen[text] = true
		found := findMacros(strings.ReplaceAll(text, style.Open+"#", style.Open+"1"))
		example := text
		if slices.Contains(n.Known, text) {
			example = withNumber(text, style)
			found = findMacros(example)
		}
		if len(found) != 1 || found[0].text != example || found[0].style.Name != n.Style {
			t.Errorf("macro %s is not in the style %s", text, n.Style)
		}
		if !n.knows(example) {
			t.Errorf("macro %s is not recognised as %s", text, example)
		}
	}
	for f := range n.Macros {
		if !slices.Contains(capture.Fields, f) {
			t.Errorf("macros: %q is no field", f)
		}
	}
	for m, why := range n.Needed {
		if !seen[m] || why == "" {
			t.Errorf("needed: %s is no macro, or nothing says why", m)
		}
	}
}

// withNumber makes an example of a family of macros.
func withNumber(text string, s Style) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(text, s.Open), s.Close)
	return s.wrap(strings.ReplaceAll(inner, "#", "2"))
}

// checkReading checks what a route takes from the entry.
func checkReading(t *testing.T, n *Network) {
	t.Helper()
	var names []string
	for f, list := range n.Fields {
		if !slices.Contains(capture.Fields, f) || len(list) == 0 {
			t.Errorf("fields: %q: %v", f, list)
		}
		names = append(names, list...)
	}
	words := make(map[string]bool)
	for canonical, list := range n.Statuses {
		if _, err := attribution.ParseStatus(canonical); err != nil {
			t.Error(err)
		}
		for _, w := range list {
			if words[strings.ToLower(w)] || w == "" {
				t.Errorf("status word %q is there twice, or empty", w)
			}
			words[strings.ToLower(w)] = true
		}
	}
	kinds := make(map[string]bool)
	for _, k := range n.Kinds {
		if k.Name == "" || kinds[k.Name] || len(k.When) == 0 {
			t.Errorf("kind %q: its name is there twice, or it has no condition", k.Name)
		}
		kinds[k.Name] = true
		if k.Ignore == "" && n.Event == "" && k.Event == "" && len(n.Fields[capture.FieldEvent]) == 0 {
			t.Errorf("kind %q: no event", k.Name)
		}
		if k.Ignore != "" && (k.Event != "" || k.Status != "" || len(k.Fields) > 0) {
			t.Errorf("kind %q: what is ignored needs nothing else", k.Name)
		}
		for name := range k.When {
			names = append(names, name)
		}
		for _, list := range k.Fields {
			names = append(names, list...)
		}
		names = append(names, k.Less...)
	}
	for _, name := range names {
		if err := capture.CheckParameter(name); err != nil {
			t.Error(err)
		}
	}
	if len(n.Shop) > 0 && !n.Minor {
		t.Errorf("shop %q says what is not in minor units, where nothing is", n.Shop)
	}
	rt := &capture.Route{Name: "test"}
	n.Preset(rt)
	if err := rt.Compile(); err != nil {
		t.Errorf("no route can be made of it: %v", err)
	}
	if n.MaxBody != 0 && (n.MaxBody <= capture.DefaultMaxBody || rt.MaxBody != n.MaxBody) {
		t.Errorf("max_body %d, and the route has %d", n.MaxBody, rt.MaxBody)
	}
}

// verifierOf makes the verifier that the entry names.
func verifierOf(v Verify) (signature.Verifier, error) {
	secrets := [][]byte{[]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}
	switch v.Scheme {
	case "":
		return nil, nil
	case "hmac":
		return signature.NewHMAC(signature.HMACConfig{Preset: v.Preset, Secrets: secrets})
	case "standard_webhooks":
		return signature.NewStandardWebhooks(secrets)
	case "digistore24":
		return signature.NewDigistore24(secrets)
	case "jvzoo":
		return signature.NewJVZoo(secrets)
	case "clickbank":
		return signature.NewClickBank(secrets)
	case "shared_secret":
		return signature.NewSharedSecret(v.Field, secrets, v.MD5)
	}
	return nil, fmt.Errorf("scheme %q is none", v.Scheme)
}

// checkProof checks verifier and answer.
func checkProof(t *testing.T, n *Network) {
	t.Helper()
	v := n.Verify
	if verifier, err := verifierOf(v); err != nil {
		t.Errorf("verify: %v", err)
	} else if verifier != nil {
		// What is a secret cannot be read as a field as well.
		rt := &capture.Route{Name: "test", Verifiers: []signature.Verifier{verifier}}
		n.Preset(rt)
		if err := rt.Compile(); err != nil {
			t.Errorf("no route can be made of it with its verifier: %v", err)
		}
	}
	if v.Scheme != "" && (!goodEnv.MatchString(v.Env) || v.Where == "") {
		t.Errorf("verify: where does the secret come from? env %q, where %q", v.Env, v.Where)
	}
	if (v.Scheme == "hmac") != (v.Preset != "") || (v.Scheme == "shared_secret") != (v.Field != "") || v.MD5 != "" && v.Field == "" {
		t.Errorf("verify: %+v", v)
	}
	if v.Scheme == "" && v != (Verify{}) {
		t.Errorf("verify without a scheme: %+v", v)
	}
	if a := n.Answer; a.Body != "" && a.Status == 0 || a.Status != 0 && (a.Status < 200 || a.Status > 299) {
		t.Errorf("answer %+v", a)
	}
	for i := range n.Kinds {
		if n.Kinds[i].ByTxID && v.Scheme == "" {
			t.Errorf("kind %q goes by the transaction ID, which needs proof of the sender", n.Kinds[i].Name)
		}
	}
}

// In YAML a blank and # begin a comment: half a sentence would be lost.
func TestCatalogueHasNoCommentsInside(t *testing.T) {
	t.Parallel()
	inside := regexp.MustCompile(`^[^"]*(?:"[^"]*"[^"]*)*\s#`)
	_, entries, _ := strings.Cut(string(catalogueYAML), "\n- name:")
	for line := range strings.Lines(entries) {
		if inside.MatchString(strings.ReplaceAll(line, `\"`, "")) {
			t.Errorf("%s", line)
		}
	}
}

// A fact under a key that nobody reads must not go unnoticed.
func TestDecodeStrict(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"- name: x\n  titel: X\n",
		"- name: x\n  kinds: [{name: a, wenn: {b: [c]}}]\n",
		"- name: x\n  statuses: {aproved: [ok]}\n",
		"- name: x\n  kinds: [{name: a, status: payed}]\n",
		"- name: x\n  kinds: [{name: a, statuses: {payed: [x]}}]\n",
		"- name: x\n- [\n",
		"- name: x\n---\n- name: y\n",
		"name: x\n",
		"",
	} {
		if all, err := decode([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, all)
		}
	}
}
