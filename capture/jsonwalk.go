package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxJSONDepth is far beyond every postback, and low enough for recursion.
	maxJSONDepth = 32
	// maxJSONValues bounds the work that a document makes beyond that of its
	// length: an order with a thousand items has fewer, and 512 KiB of [] have
	// five times as many.
	maxJSONValues = 32 << 10
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// jsonWalk goes through a JSON document once and is strict where readers
// differ: keys that occur twice are refused, since which of the two counts
// would depend on who reads. Each function may be nil.
//
// The standard library says whether a document is valid, which it does fast;
// the walk then relies on it. Its tokens would cost three times as much,
// and everybody may send us JSON.
type jsonWalk struct {
	// leaf is called for each value that is neither object nor array, with
	// its path, like a.b.0; see jsonText for the value. Paths longer than a
	// parameter's name can be are left out.
	leaf func(path, value []byte)
	// member is called after each member of an object with its key, its path,
	// which may be cut if it is longer than that, and where its value stands
	// in the document.
	member func(key string, path []byte, from, to int)
	// container is called for each object and array inside another, with its
	// path.
	container func(path []byte)
	// track, if set, follows.
	track *pathTracker

	doc    []byte
	pos    int
	path   []byte
	values int
}

func (w *jsonWalk) walk(doc []byte) error {
	w.doc = doc
	if bytes.HasPrefix(doc, byteOrderMark) {
		w.pos = len(byteOrderMark)
	}
	if !json.Valid(doc[w.pos:]) {
		var value json.RawMessage
		err := json.Unmarshal(doc[w.pos:], &value)
		return fmt.Errorf("this is no JSON: %w; does the sender's template lack a quotation mark, or have a comma too many?", err)
	}
	if c := w.peek(); c != '{' && c != '[' {
		return errors.New("the JSON is neither an object nor an array")
	}
	return w.value(0)
}

// peek goes to the next token that means anything in a valid document.
func (w *jsonWalk) peek() byte {
	for {
		switch c := w.doc[w.pos]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			w.pos++
		default:
			return c
		}
	}
}

// value goes through the value at hand, depth levels down.
func (w *jsonWalk) value(depth int) error {
	if w.values++; w.values > maxJSONValues {
		return fmt.Errorf("the JSON has more than %d values", maxJSONValues)
	}
	c := w.peek()
	if c == '{' || c == '[' {
		if depth == maxJSONDepth {
			return fmt.Errorf("the JSON is nested deeper than %d levels", maxJSONDepth)
		}
		if w.container != nil && depth > 0 && len(w.path) <= maxParamName {
			w.container(w.path)
		}
		w.pos++
		if c == '{' {
			return w.object(depth + 1)
		}
		return w.array(depth + 1)
	}
	value := w.scalar()
	if w.leaf != nil && len(w.path) <= maxParamName {
		w.leaf(w.path, value)
	}
	if w.track != nil {
		w.track.leaf(value)
	}
	return nil
}

func (w *jsonWalk) object(depth int) error {
	var seen map[string]struct{}
	outer := len(w.path)
	for w.peek() != '}' {
		key := jsonText(w.scalar())
		if _, twice := seen[key]; twice {
			return fmt.Errorf("the JSON has the key %q twice", echo(key))
		}
		if seen == nil {
			seen = make(map[string]struct{})
		}
		seen[key] = struct{}{}
		w.enter(depth, key, false)
		w.peek()
		from := w.pos
		if err := w.value(depth); err != nil {
			return err
		}
		if w.member != nil {
			w.member(key, w.path, from, w.pos)
		}
		w.leave(outer)
	}
	w.pos++
	return nil
}

func (w *jsonWalk) array(depth int) error {
	outer := len(w.path)
	for i := 0; w.peek() != ']'; i++ {
		w.enter(depth, strconv.Itoa(i), true)
		if err := w.value(depth); err != nil {
			return err
		}
		w.leave(outer)
	}
	w.pos++
	return nil
}

// scalar returns the string, number or word at hand as it is written.
func (w *jsonWalk) scalar() []byte {
	from := w.pos
	if w.doc[from] != '"' {
		w.pos += bytes.IndexAny(w.doc[from:], ",]} \t\r\n") // all stand in a container
		return w.doc[from:w.pos]
	}
	for w.pos++; w.doc[w.pos] != '"'; w.pos++ {
		if w.doc[w.pos] == '\\' {
			w.pos++
		}
	}
	w.pos++
	return w.doc[from:w.pos]
}

// enter adds a member, or an array's element, to the path. A path that is too
// long to matter stays so and is not copied about.
func (w *jsonWalk) enter(depth int, name string, element bool) {
	if w.track != nil {
		w.track.enter(name, element)
	}
	if len(w.path) > maxParamName {
		return
	}
	if depth > 1 {
		w.path = append(w.path, '.')
	}
	w.path = append(w.path, name...)
}

// leave takes the path back to its length before enter.
func (w *jsonWalk) leave(length int) {
	w.path = w.path[:length]
	if w.track != nil {
		w.track.leave()
	}
}

// jsonText returns what a scalar says, to the byte, which need not be UTF-8:
// numbers exactly as they are written, since reading them would round them, and
// null as nothing.
func jsonText(scalar []byte) string {
	if scalar[0] != '"' {
		if scalar[0] == 'n' {
			return ""
		}
		return string(scalar)
	}
	inner := scalar[1 : len(scalar)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	return unescapeJSON(inner)
}

// jsonEscapes are the escapes of one letter.
var jsonEscapes = strings.NewReplacer(`b`, "\b", `f`, "\f", `n`, "\n", `r`, "\r", `t`, "\t")

// unescapeJSON decodes the inside of a valid string. The standard library would
// make one and the same character of all bytes that are no text, and of all
// halves of surrogate pairs; these become the three bytes that UTF-8 would have
// for them.
func unescapeJSON(s []byte) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		if i++; s[i] != 'u' {
			b = append(b, jsonEscapes.Replace(string(s[i]))...)
			continue
		}
		r := hexRune(s[i+1:])
		i += 4
		if utf16.IsSurrogate(r) {
			if i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
				if pair := utf16.DecodeRune(r, hexRune(s[i+3:])); pair != utf8.RuneError {
					b = utf8.AppendRune(b, pair)
					i += 6
					continue
				}
			}
			b = append(b, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f) //nolint:gosec // its bits
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}

// hexRune reads four hexadecimal digits.
func hexRune(s []byte) (r rune) {
	for _, c := range s[:4] {
		r = r<<4 | rune(hexDigit(c)) //nolint:gosec // a digit
	}
	return r
}
