package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// many repeats a text, with the number of each repeat in the place of #.
func many(n int, text string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(text, "#", strconv.Itoa(i)))
	}
	return b.String()
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // to memory
	_ = w.Close()
	return b.String()
}

const multipartForm = "Content-Type: multipart/form-data; boundary=b"

// part is one part of a multipart form.
func part(name, value string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
}

// Bodies that are made to cost the server more than their sender are refused, on an open route, where anyone
// can send them; and what is merely large is not.
func TestBombs(t *testing.T) {
	s := startServer(t, abuseSite)
	id := s.click("/go/acme", "cid")
	idPart := part("click_id", id)
	object := fmt.Sprintf(`{"click_id":%q,`, id)
	malformed := func(says string) []string { return []string{`"reason":"malformed_request"`, says} }
	for name, tt := range map[string]struct {
		body, kind string
		target     string // default /large
		header     string
		status     int
		says       []string
	}{
		"objects, deep":               {body: strings.Repeat(`{"a":`, 80_000) + "1" + strings.Repeat("}", 80_000), kind: jsonBody, status: 400, says: malformed("")},
		"objects, a little too deep":  {body: object + `"a":` + strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32) + "}", kind: jsonBody, status: 400, says: malformed("32 levels")},
		"arrays, deep and unclosed":   {body: strings.Repeat("[", 500_000), kind: jsonBody, status: 400, says: malformed("")},
		"arrays, many":                {body: object + `"a":[` + strings.Repeat("[],", 150_000) + "[]]}", kind: jsonBody, status: 400, says: malformed("values")},
		"numbers, many":               {body: object + `"a":[` + strings.Repeat("1,", 200_000) + "1]}", kind: jsonBody, status: 400, says: malformed("values")},
		"keys, twice":                 {body: object + `"CLICK":1,"CLICK":2}`, kind: jsonBody, status: 400, says: malformed(`"CLICK\" twice`)},
		"keys, twice, far apart":      {body: object + many(9000, `"k#":#,`) + `"k0":1}`, kind: jsonBody, status: 400, says: malformed(`twice`)},
		"keys, twice, by an escape":   {body: object + `"click\u005fid":"x"}`, kind: jsonBody, status: 400, says: malformed(`twice`)},
		"a number of 400,000 digits":  {body: object + `"payout":` + strings.Repeat("9", 400_000) + `,"currency":"USD"}`, kind: jsonBody, status: 202, says: []string{"bad_payout"}},
		"a number of that exponent":   {body: object + `"payout":1e400000000,"currency":"USD"}`, kind: jsonBody, status: 202, says: []string{"bad_payout"}},
		"two documents":               {body: object + `"a":1}` + object + `"a":1}`, kind: jsonBody, status: 400, says: malformed("")},
		"more than max_body":          {body: object + `"a":"` + strings.Repeat("x", 600<<10) + `"}`, kind: jsonBody, status: 413, says: []string{"body_too_large"}},
		"gzip":                        {body: gzipped(object + `"a":"` + strings.Repeat("x", 400<<10) + `"}`), kind: jsonBody, header: "Content-Encoding: gzip", status: 400, says: malformed("compressed")},
		"gzip that does not say so":   {body: gzipped(object + `"a":1}`), kind: jsonBody, status: 400, says: malformed("")},
		"an encoding of encodings":    {body: object + `"a":1}`, kind: jsonBody, header: "Content-Encoding: identity, gzip, br", status: 400, says: malformed("compressed")},
		"parts, many":                 {body: many(5000, part("p#", "1")) + idPart + "--b--", kind: multipartForm, status: 400, says: malformed("256 parts")},
		"parts with many headers":     {body: "--b\r\n" + many(20_000, "X-#: y\r\n") + "\r\n1\r\n" + idPart + "--b--", kind: multipartForm, status: 400, says: malformed("damaged")},
		"a part that does not end":    {body: idPart + "--b\r\nContent-Disposition: form-data; name=\"txid\"\r\n\r\n" + strings.Repeat("-", 400_000), kind: multipartForm, status: 400, says: malformed("damaged")},
		"boundaries, many":            {body: strings.Repeat("--b\r\n", 100_000), kind: multipartForm, status: 400, says: malformed("")},
		"parameters in the address":   {target: "/open?" + many(10_000, "a#=1&") + "click_id=" + id, status: 431},
		"parameters, 10,000":          {body: many(10_000, "a#=1&") + "txid=form&click_id=" + id, kind: form, status: 200, says: []string{`"recorded"`}},
		"parameters of one name":      {body: strings.Repeat("click_id=&txid=&", 20_000) + "txid=one-name&click_id=" + id, kind: form, status: 200, says: []string{`"recorded"`}},
		"separators, nothing else":    {body: strings.Repeat("&", 400_000) + "txid=separators&click_id=" + id, kind: form, status: 200, says: []string{`"recorded"`}},
		"percent signs":               {body: "a=" + strings.Repeat("%25", 100_000) + "&txid=percent&click_id=" + id, kind: form, status: 200, says: []string{`"recorded"`}},
		"a click ID encoded for ever": {body: "click_id=" + "%" + strings.Repeat("25", 200_000) + "41", kind: form, status: 400, says: []string{"invalid_click_id"}},
		"JSON with 10,000 keys":       {body: object + many(10_000, `"k#":#,`) + `"txid":"keys"}`, kind: jsonBody, status: 200, says: []string{`"recorded"`}},
		"200 parts":                   {body: many(200, part("p#", "1")) + part("txid", "parts") + idPart + "--b--", kind: multipartForm, status: 200, says: []string{`"recorded"`}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.target == "" {
				tt.target = "/large"
			}
			a := s.do("POST", tt.target, tt.body, slicesOf(tt.kind, tt.header)...)
			if a.status != tt.status || !containsAll(a.body, tt.says...) || len(a.body) > 2000 {
				t.Errorf("status %d %.2000s; want %d %q", a.status, a.body, tt.status, tt.says)
			}
		})
	}
	if f := s.report("").Total; f.Conversions != 6 {
		t.Errorf("%d conversions, want the 6 of large but honest bodies", f.Conversions)
	}
}

// slicesOf are the texts that are not empty.
func slicesOf(texts ...string) (list []string) {
	for _, text := range texts {
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}
