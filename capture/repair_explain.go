package capture

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// clickIDDetail says what is wrong with a click ID that is not genuine.
func (rt *Route) clickIDDetail(value string, wellFormed bool) string {
	is := fmt.Sprintf("click_id is %q", echoID(value))
	if wellFormed {
		return is + ": it has the form of a click ID but was not made by this site; does the postback belong to another site, " +
			"was a character changed, or is click_id_key another one than when the click was made?"
	}
	bare := strings.TrimRight(strings.TrimFunc(value, decorates), ".…/") // as in "abc..."
	if word := strings.ToLower(bare); nothingWords[word] {
		return is + ": the sender had no click ID and sent this in its place; " +
			"is our click ID in the offer link, in the parameter that this sender keeps?"
	}
	if _, ok := rt.match.names[strings.ToLower(bare)]; ok || bareMacro(bare) {
		return is + ", which is a name and no click ID: the macro in the postback URL at the sender lacks its brackets"
	}
	if what := foreignID(bare); what != "" {
		return is + ", which is no click ID of this site: it looks like " + what +
			"; is another tracker's postback pointed here, or the wrong macro given for click_id?"
	}
	return is + shapeDetail(value, bare)
}

// echoID is echo for a click ID. What follows an = in one belongs to another
// parameter, which can be a secret.
func echoID(value string) string {
	if i := strings.IndexByte(value, '='); i >= 0 && i < len(value)-1 {
		value = value[:i+1] + "..."
	}
	return echo(value)
}

// bareMacro tells whether a value is a macro's name without its brackets, like
// aff_sub2.
func bareMacro(v string) bool {
	at := strings.IndexByte(v, '_')
	return at > 0 && at < len(v)-1 && len(v) <= maxMacroName/2 && onlyLetters(v)
}

// shapeDetail says by what its form differs from a click ID's; bare is the
// value without what stands around it.
func shapeDetail(value, bare string) string {
	at := strings.IndexFunc(bare, func(r rune) bool { return r >= utf8.RuneSelf || !clickIDByte(byte(r)) })
	n := utf8.RuneCountInString(bare)
	switch {
	case at >= 0:
		r, _ := utf8.DecodeRuneInString(bare[at:])
		shown := fmt.Sprintf("%q", string(r))
		if !unicode.IsGraphic(r) || r == utf8.RuneError {
			shown = "a character that cannot be shown"
		}
		before := value[:strings.Index(value, bare)+at]
		return fmt.Sprintf(": it contains %s at position %d, and click IDs of this site are %d characters from 0-9 and a-v; "+
			"was it typed by hand, or is it another system's ID?", shown, utf8.RuneCountInString(before)+1, clickid.Length)
	case n >= clickid.Length/3 && n < clickid.Length:
		return fmt.Sprintf(", only %d of the %d characters of a click ID: if it is one, it was cut short; "+
			"does the field at the sender in which it is kept hold fewer characters? Use another one", n, clickid.Length)
	case n < clickid.Length:
		return fmt.Sprintf(", only %s, and click IDs of this site have %d: is the wrong macro given for click_id in the postback URL at the sender?",
			characters(n), clickid.Length)
	case n == clickid.Length:
		return fmt.Sprintf(": %q cannot be the last character of a click ID; was a character changed?", bare[len(bare)-1:])
	}
	return fmt.Sprintf(", %d characters, and click IDs of this site have %d: something is glued to it, or it is another system's ID",
		n, clickid.Length)
}

func characters(n int) string {
	if n == 1 {
		return "1 character"
	}
	return fmt.Sprintf("%d characters", n)
}

func twoClicksDetail(a, b string) string {
	return fmt.Sprintf("click_id holds two different click IDs, %s and %s, and one postback is about one click: "+
		"is a macro given twice in the postback URL at the sender?", a, b)
}

// nothingWords are what programs write for a value that is not there.
var nothingWords = map[string]bool{
	"": true, "null": true, "(null)": true, "nil": true, "none": true, "(none)": true, "undefined": true, "nan": true, "n/a": true, "na": true,
	"(not set)": true, "not set": true, "empty": true, "false": true, "true": true, "unknown": true, "-": true, "0": true,
}

// foreignID tells what an ID of somebody else's looks like, or "".
func foreignID(v string) string {
	digits, hexes, plain := 0, 0, 0
	for i := range len(v) {
		switch c := v[i]; {
		case c >= '0' && c <= '9':
			digits++
			hexes++
			plain++
		case hexDigit(c) >= 0:
			hexes++
			plain++
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '_':
			plain++
		}
	}
	n := len(v)
	switch {
	case isGUID(v):
		return "a UUID"
	case n > 0 && digits == n:
		return "a plain number"
	case strings.Contains(v, "://") || strings.HasPrefix(v, "www."):
		return "the address of a page"
	case strings.IndexByte(v, '@') > 0:
		return "an e-mail address"
	case hexes == n && (n == 24 || n == 32 || n == 40 || n == 64):
		return fmt.Sprintf("an ID of %d hexadecimal digits, as other trackers make them", n)
	case plain == n && n >= 40 && startsWithAny(v, "Cj0KC", "CjwKC", "EAIaI"):
		return "Google's click ID (gclid)"
	case startsWithAny(v, "fb.1.", "IwAR", "IwY2x", "IwZXh") && n >= 20:
		return "Meta's click ID (fbclid)"
	case plain == n && n >= 8 && digits > 0 && digits < n && (n < clickid.Length || n > clickid.Length+4) && strings.IndexFunc(v, beyondV) >= 0:
		// Letters that a click ID of this site never has, in an ID that is
		// random otherwise: Voluum's, Keitaro's and many others.
		return fmt.Sprintf("another system's ID of %d letters and digits", n)
	}
	return ""
}

// beyondV finds what other alphabets have and a click ID's has not.
func beyondV(r rune) bool { return r|0x20 >= 'w' && r|0x20 <= 'z' || r == '-' || r == '_' }

func startsWithAny(v string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(v, p) {
			return true
		}
	}
	return false
}

// missingDetail says where a click ID was looked for, and what there was
// instead.
func (rt *Route) missingDetail(p *Postback, codec *clickid.Codec) string {
	detail := "no click ID: it is looked for in the parameters " + joined(rt.Fields[FieldClickID])
	if p.Authentic == authenticImport { // it has no parameters
		return detail
	}
	if hint := rt.hint(p, codec); hint != "" {
		return detail + hint
	}
	var names []string
	empty, more := "", 0
	whole := rt.eachParameter(p.Raw, func(name, value string, read bool) {
		switch {
		case !read || name == "" || strings.EqualFold(name, tokenParam):
			return
		case strings.TrimSpace(value) == "" &&
			slices.ContainsFunc(rt.Fields[FieldClickID], func(f string) bool { return strings.EqualFold(f, name) }):
			empty = name
		}
		if len(names) < maxNamed && len(name) <= maxEcho/2 {
			names = append(names, fmt.Sprintf("%q", name))
		} else {
			more++
		}
	})
	switch {
	case empty != "":
		return fmt.Sprintf("%s is empty: the sender had no click ID; is our click ID in the offer link, in the parameter that this sender keeps?",
			echo(empty))
	case len(names) == 0 && !whole:
		return detail
	case len(names) == 0:
		return detail + "; the " + rt.what() + " has no parameters at all"
	case more > 0:
		return detail + fmt.Sprintf("; the %s has %s and %d more", rt.what(), strings.Join(names, ", "), more)
	}
	return detail + "; the " + rt.what() + " has " + strings.Join(names, ", ")
}

// what people call that of which the parameters are listed.
func (rt *Route) what() string {
	if len(rt.decoders) > 0 {
		return "decrypted message"
	}
	return "postback"
}

// hint names the parameter that holds a genuine click ID where the route does
// not look for one first. It is not taken: that the sender means the visitor's
// click by it is for people to say.
func (rt *Route) hint(p *Postback, codec *clickid.Codec) string {
	if p.Authentic == authenticImport {
		return ""
	}
	holds, passedOver, tries := "", "", 0
	rt.eachParameter(p.Raw, func(name, value string, read bool) {
		if value = strings.TrimSpace(value); len(value) != clickid.Length || holds != "" || tries == maxTries {
			return
		}
		tries++
		switch _, err := codec.Decode(value); {
		case err != nil:
		case read:
			holds = name
		default:
			passedOver = name
		}
	})
	switch {
	case holds == "" && passedOver == "":
		return ""
	case holds == "":
		from, to := "query", "body"
		if p.Raw.Unsigned&signature.PartQuery == 0 {
			from, to = to, from
		}
		return fmt.Sprintf("; the parameter %q in the %s holds a click ID of this site, but the sender's signature does not cover the %s: "+
			"have it put into the %s", echo(passedOver), from, from, to)
	}
	return fmt.Sprintf("; the parameter %q holds a click ID of this site: to have it looked at, name it in this route's block, "+
		"for example with fields { click_id %s }", echo(holds), echo(holds))
}

const (
	// maxNamed bounds the parameters that a detail lists.
	maxNamed = 6
	// maxScanned bounds the bodies that are looked through for a detail.
	maxScanned = 16 << 10
)

// eachParameter goes through the parameters of query and body, in no more time
// than their length takes, and says of each whether the route reads it at all:
// it does not where the sender's signature covers something else. It returns
// whether these are all.
func (rt *Route) eachParameter(raw Raw, visit func(name, value string, read bool)) (whole bool) {
	_, query, _ := strings.Cut(raw.URI, "?")
	form := func(s string, read bool) {
		for pair := range strings.SplitSeq(s, "&") {
			// A name is shown: what has no = may be a value, and what has one
			// encoded in it holds one.
			if name, value, ok := strings.Cut(pair, "="); ok && !mangled(name) {
				visit(unescape(name), unescape(value), read)
			}
		}
	}
	form(query, raw.Unsigned&signature.PartQuery == 0)
	read := raw.Unsigned&signature.PartBody == 0
	contentType, body := raw.ContentType, raw.Body
	if len(body) > maxScanned {
		return false
	}
	for _, d := range rt.decoders {
		if len(body) == 0 {
			break
		}
		var err error
		if body, contentType, err = d.Decode(body); err != nil {
			return false
		}
	}
	switch kindOf(contentType, body) {
	case multipartBody:
		return false
	case formBody:
		form(string(body), read)
	case jsonBody:
		w := jsonWalk{leaf: func(path, value []byte) { visit(string(path), jsonText(value), read) }}
		_ = w.walk(body) // what cannot be read was said already
	}
	return true
}
