package capture

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode"
)

// A macro is what a network replaces in its template of our postback URL, and
// a traffic source in our link. One that it does not know arrives as it stands,
// and must never be booked.

// maxMacroName is beyond every network's macro names.
const maxMacroName = 64

// macroMarks are the pairs that macros stand between, longer ones before those
// that they begin with. Braces are not among them: see inBraces.
var macroMarks = [...][2]string{
	{"[[[", "]]]"}, {"[[", "]]"}, {"[=", "=]"}, {"[", "]"},
	{"##", "##"}, {"#", "#"}, {"%%", "%%"}, {"%", "%"},
	{"<%=", "%>"}, {"<%", "%>"}, {"<", ">"}, {"!!!", "!!!"}, {"__", "__"}, {"*|", "|*"},
}

// unmistakable are the marks of which no real value is made, so that a macro
// between them is found within a longer value too.
var unmistakable = [...][2]string{{"[[[", "]]]"}, {"[=", "=]"}}

func macroDetail(f Field, value string) string {
	return fmt.Sprintf("%s is %q: the sender did not replace its macro; in the postback URL at the sender, "+
		"write the macro as the sender's own list has it, with the same brackets and letters", f, echo(value))
}

// eachMacro calls visit for each of a click's values that is an unresolved
// macro, until it returns false.
func eachMacro(source string, subs, kept []Param, visit func(name, value string) bool) {
	if IsMacro(source) && !visit("source", source) {
		return
	}
	for _, params := range [...][]Param{subs, kept} {
		for i := range params {
			if IsMacro(params[i].Value) && !visit(params[i].Name, params[i].Value) {
				return
			}
		}
	}
}

// maxClickNotes bounds what is said of one click.
const maxClickNotes = 5

// macroNotes say which of a click's values are unresolved macros.
func macroNotes(flags ClickFlags, source string, subs, kept []Param) (notes []string) {
	if flags&FlagMacro == 0 {
		return nil
	}
	var said []string
	eachMacro(source, subs, kept, func(name, value string) bool {
		if slices.Contains(said, value) {
			return true // utm_source is the source and kept as well
		}
		said = append(said, value)
		notes = append(notes, fmt.Sprintf("the click's %s is %q: the traffic source did not replace its macro; in the link that it was given, "+
			"write the macro as the source's own list has it", echo(name), echo(value)))
		return len(notes) < maxClickNotes
	})
	return notes
}

// IsMacro tells whether a value is a macro in one of the styles that networks
// use, plain or percent-encoded once or twice more than it should be. For a
// value that has nothing of a macro it costs a glance and no memory.
func IsMacro(v string) bool {
	for range 3 {
		v = trimMacro(v)
		if looksLikeMacro(v) {
			return true
		}
		percent := strings.IndexByte(v, '%') >= 0
		if !percent && !htmlEscaped(v) {
			return false
		}
		if v = html.UnescapeString(v); percent {
			v = unescape(v)
		}
	}
	return false
}

// trimMacro takes off what templates leave around a macro.
func trimMacro(v string) string {
	if v == "" || v[0] < 0x80 && v[0] > '\'' && v[len(v)-1] < 0x80 && v[len(v)-1] > '\'' {
		return v
	}
	return strings.TrimFunc(v, func(r rune) bool { return unicode.IsSpace(r) || invisible(r) || quotation(r) })
}

// htmlEscaped tells whether a value may hold HTML's way to write < or {.
func htmlEscaped(v string) bool {
	i := strings.IndexByte(v, '&')
	return i >= 0 && strings.IndexByte(v[i:], ';') > 0
}

func looksLikeMacro(v string) bool {
	if v == "" {
		return false
	}
	switch v[0] {
	case '[', '#', '%', '<', '!', '_', '*':
		if betweenMarks(v) {
			return true
		}
	case 'x', 'X':
		if n := len(v); n > 4 && strings.EqualFold(v[:2], "xx") && strings.EqualFold(v[n-2:], "xx") && onlyLetters(v[2:n-2]) {
			return true
		}
	case '(':
		if v[len(v)-1] == ')' && isCapitals(v[1:len(v)-1]) {
			return true
		}
	case 'R', 'r':
		if leftByHand(v) {
			return true
		}
	}
	return v == "{}" || v == "{{}}" || v == "[]" || v == "<>" || inBraces(v) || withinValue(v)
}

func betweenMarks(v string) bool {
	for _, m := range macroMarks {
		inner, ok := strings.CutPrefix(v, m[0])
		if !ok {
			continue
		}
		if inner, ok = strings.CutSuffix(inner, m[1]); ok && isMacroName(inner) {
			return true
		}
	}
	return false
}

// leftByHand finds REPLACE, REPLACE_ME, REPLACE_CLICK_ID and the like, which a
// manual says to put something else for.
func leftByHand(v string) bool {
	const word = "REPLACE"
	if len(v) < len(word) || !strings.EqualFold(v[:len(word)], word) {
		return false
	}
	rest := strings.ToUpper(v[len(word):])
	switch rest {
	case "ME", "_ME", "-ME", " ME", "+ME", "THIS", "_THIS", "-THIS", " THIS", "+THIS":
		return true
	}
	// The bare word in lower case can be an event.
	return v[:len(word)] == word && (rest == "" || strings.IndexByte("_- +", rest[0]) >= 0)
}

// inBraces finds {name} anywhere, which covers {{name}}, ${name}, #{name} and
// what a template puts around one, like order-{id}. Other styles have to be
// the whole value, for their marks occur in real ones.
func inBraces(v string) bool {
	for {
		_, rest, ok := strings.Cut(v, "{")
		if !ok {
			return false
		}
		v = rest
		i := strings.IndexAny(rest, "{}")
		if i > 0 && rest[i] == '}' && isMacroName(rest[:i]) && !isGUID(rest[:i]) {
			return true
		}
		// Between two braces templates have filters and defaults as well:
		// {{ click_id | default: "none" }}.
		if i == 0 && rest[0] == '{' {
			if inner, _, ok := strings.Cut(rest[1:min(len(rest), maxMacroName+3)], "}}"); ok && beginsLikeName(inner) && !isGUID(inner) {
				return true
			}
		}
	}
}

// withinValue finds a macro between marks that are unmistakable.
func withinValue(v string) bool {
	if strings.IndexByte(v, '[') < 0 {
		return false
	}
	for _, m := range unmistakable {
		for rest := v; ; {
			_, after, ok := strings.Cut(rest, m[0])
			if !ok {
				break
			}
			if inner, _, ok := strings.Cut(after[:min(len(after), maxMacroName+len(m[1]))], m[1]); ok && isMacroName(inner) {
				return true
			}
			rest = after
		}
	}
	return false
}

// isMacroName accepts names like aff_sub, a.b, p:x, $data1 and url(sid). They
// begin with a letter, so [1] and #1001# are none.
func isMacroName(s string) bool {
	if len(s) > maxMacroName+8 {
		return false
	}
	s = strings.Trim(s, " *=@")
	if s == "" || len(s) > maxMacroName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !nameByte(c) && (i == 0 || (c < '0' || c > '9') && strings.IndexByte(".:-()| ", c) < 0) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' || c >= 0x80
}

// beginsLikeName is for what stands between two braces.
func beginsLikeName(s string) bool {
	s = strings.TrimLeft(s, " ")
	return s != "" && len(s) <= maxMacroName && nameByte(s[0]) && !strings.ContainsAny(s, "{}\n")
}

// isGUID keeps transaction IDs in Microsoft's notation, {3f2504e0-4f89-...},
// from being taken for macros.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') || !dash && hexDigit(s[i]) < 0 {
			return false
		}
	}
	return true
}

// onlyLetters is for xxnamexx: a digit may come last. Random transaction IDs
// hold digits all over, and what is hidden behind xxxxxxxx is no name.
func onlyLetters(s string) bool {
	for i := range len(s) {
		c := s[i]
		digit := c >= '0' && c <= '9' && i > 0 && i == len(s)-1
		if !digit && c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return len(s) <= maxMacroName && strings.Trim(s, "xX") != ""
}

// isCapitals is for (S_X).
func isCapitals(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'A' || c > 'Z') && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return strings.IndexByte(s, '_') > 0 && len(s) <= maxMacroName
}
