package capture

import (
	"fmt"
	"strings"
)

// A macro is what a network replaces in its template of our postback URL. One
// that it does not know arrives as it stands, and must never be booked.

// maxMacroName is beyond every network's macro names.
const maxMacroName = 64

// macroMarks are the pairs that macros stand between, longer ones before those
// that they begin with. Braces are not among them: see inBraces.
var macroMarks = [...][2]string{
	{"[[[", "]]]"}, {"[[", "]]"}, {"[=", "=]"}, {"[", "]"},
	{"##", "##"}, {"#", "#"}, {"%%", "%%"}, {"%", "%"},
	{"<", ">"}, {"!!!", "!!!"}, {"__", "__"},
}

func macroDetail(f Field, value string) string {
	return fmt.Sprintf("%s is %q: the sender did not replace its macro", f, echo(value))
}

// isMacro tells whether a value is a macro in one of the styles that networks
// use, plain or percent-encoded once or twice more than it should be.
func isMacro(v string) bool {
	for range 3 {
		if looksLikeMacro(strings.TrimSpace(v)) {
			return true
		}
		if strings.IndexByte(v, '%') < 0 {
			return false
		}
		v = unescape(v)
	}
	return false
}

func looksLikeMacro(v string) bool {
	if v == "" {
		return false
	}
	switch v[0] {
	case '[', '#', '%', '<', '!', '_':
		for _, m := range macroMarks {
			inner, ok := strings.CutPrefix(v, m[0])
			if !ok {
				continue
			}
			if inner, ok = strings.CutSuffix(inner, m[1]); ok && isMacroName(inner) {
				return true
			}
		}
	case 'x':
		if n := len(v); n > 4 && strings.HasPrefix(v, "xx") && strings.HasSuffix(v, "xx") && onlyLetters(v[2:n-2]) {
			return true
		}
	case '(':
		if v[len(v)-1] == ')' && isCapitals(v[1:len(v)-1]) {
			return true
		}
	case 'R':
		if rest, ok := strings.CutPrefix(v, "REPLACE"); ok && (rest == "" || rest == "ME" || strings.IndexByte("_- ", rest[0]) >= 0) {
			return true
		}
	}
	return v == "{}" || v == "{{}}" || v == "[]" || v == "<>" || inBraces(v)
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
		if i := strings.IndexAny(rest, "{}"); i > 0 && rest[i] == '}' && isMacroName(rest[:i]) && !isGUID(rest[:i]) {
			return true
		}
	}
}

// isMacroName accepts names like aff_sub, a.b, p:x, $data1 and url(sid). They
// begin with a letter, so [1] and #1001# are none.
func isMacroName(s string) bool {
	s = strings.Trim(s, " *=@")
	if s == "" || len(s) > maxMacroName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' || c >= 0x80
		if !letter && (i == 0 || (c < '0' || c > '9') && strings.IndexByte(".:-()| ", c) < 0) {
			return false
		}
	}
	return true
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
// hold digits all over.
func onlyLetters(s string) bool {
	for i := range len(s) {
		c := s[i]
		digit := c >= '0' && c <= '9' && i > 0 && i == len(s)-1
		if !digit && c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return len(s) <= maxMacroName
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
