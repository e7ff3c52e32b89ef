package signature

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// signed is what a message says about its signature.
type signed struct {
	signatures [][]byte
	timestamp  string
}

// read finds the signatures and the timestamp.
func (v *hmacVerifier) read(m *Message) (signed, error) {
	text, where, err := v.place(m)
	if err != nil {
		return signed{}, err
	}
	var sent signed
	var words []string
	if v.List != nil {
		words, sent.timestamp, err = v.List.read(text, where)
	} else {
		words, err = v.words(text, where)
	}
	if err != nil {
		return signed{}, err
	}
	if len(words) > maxCandidates {
		return signed{}, bad("%s holds %d signatures, at most %d are compared", where, len(words), maxCandidates)
	}
	for _, w := range words {
		if b := v.decode(w); b != nil {
			sent.signatures = append(sent.signatures, b)
		}
	}
	if len(sent.signatures) == 0 {
		return signed{}, bad("the signature in %s is not that of %s in %s, which has %d bytes: "+
			"does the sender use another algorithm or encoding?", where, v.Algorithm, v.Encoding, v.size)
	}
	if v.TimestampHeader != "" {
		sent.timestamp, err = header(m.Request, v.TimestampHeader, "timestamp", v.hint)
	} else if v.TimestampParameter != "" {
		sent.timestamp, err = parameter(m, v.TimestampParameter, "timestamp", v.timeFrom)
	}
	return sent, err
}

// place returns the header or parameter with the signature, and what to call
// it.
func (v *hmacVerifier) place(m *Message) (text, where string, err error) {
	if v.Header != "" {
		text, err = header(m.Request, v.canonical, "signature", v.hint)
		return text, "the header " + v.canonical, err
	}
	text, err = parameter(m, v.Parameter, "signature", anyPart)
	if err == nil && len(text) > maxSignatureHeader {
		err = bad("the parameter %q has %d bytes, at most %d are read: that is no signature", v.Parameter, len(text), maxSignatureHeader)
	}
	if v.Encoding == "base64" {
		// A plus sign that the sender forgot to encode arrives as a space.
		text = strings.ReplaceAll(text, " ", "+")
	}
	return text, "the parameter " + strconv.Quote(v.Parameter), err
}

// words splits a plain header into its signatures.
func (v *hmacVerifier) words(text, where string) ([]string, error) {
	if v.Header == "" {
		rest, ok := cutPrefixFold(text, v.Prefix)
		if !ok {
			return nil, bad("the signature in %s does not begin with %q", where, v.Prefix)
		}
		return []string{rest}, nil
	}
	var words []string
	for entry := range strings.SplitSeq(text, ",") {
		rest, ok := cutPrefixFold(strings.TrimSpace(entry), v.Prefix)
		if !ok {
			continue
		}
		for _, word := range strings.Fields(rest) {
			word, _ = cutPrefixFold(word, v.Prefix)
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return nil, bad("no signature in %s begins with %q: does the sender use another algorithm?", where, v.Prefix)
	}
	return words, nil
}

// cutPrefixFold is strings.CutPrefix, whatever the case of the letters.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// read takes the list apart.
func (l *HMACList) read(text, where string) (signatures []string, timestamp string, err error) {
	times := 0
	for entry := range strings.SplitSeq(text, l.Separator) {
		key, value, _ := strings.Cut(entry, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case slices.Contains(l.Signatures, key):
			signatures = append(signatures, value)
		case key == l.Timestamp && key != "":
			times, timestamp = times+1, value
		}
	}
	switch {
	case len(signatures) == 0:
		return nil, "", bad("%s has no signature %s=: it has to read like %q", where, l.Signatures[0], l.example())
	case l.Timestamp != "" && times != 1:
		return nil, "", bad("%s has %d timestamps %s=: it has to read like %q", where, times, l.Timestamp, l.example())
	case l.Timestamp != "" && timestamp == "":
		return nil, "", bad("%s has an empty timestamp %s=: it has to read like %q", where, l.Timestamp, l.example())
	}
	return signatures, timestamp, nil
}

func (l *HMACList) example() string {
	s := l.Signatures[0] + "=<signature>"
	if l.Timestamp != "" {
		s = l.Timestamp + "=<seconds>" + l.Separator + s
	}
	return s
}

// parseTime reads a timestamp. Up to eleven digits are seconds, which lasts
// until the year 5138.
func parseTime(s string) (time.Time, error) {
	digits := !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
	if digits && len(s) <= 14 {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			if len(s) <= 11 {
				return time.Unix(n, 0), nil
			}
			return time.UnixMilli(n), nil
		}
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := http.ParseTime(s); err == nil {
		return t, nil
	}
	return time.Time{}, bad("the timestamp %q is not a time: expected are seconds since 1970, or as in RFC 3339", cut(s))
}
