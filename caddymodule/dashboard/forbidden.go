package dashboard

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

// forbiddenPage stands alone: who is not signed in gets nothing else from us,
// not even a style sheet. Its own is allowed by its hash.
//
//go:embed templates/forbidden.html
var forbiddenPage string

// forbiddenStyle lies apart, so that its hash is that of what is sent.
//
//go:embed templates/forbidden.css
var forbiddenStyle string

var (
	forbiddenHTML   = renderForbidden()
	forbiddenPolicy = func() string {
		sum := sha256.Sum256([]byte(forbiddenStyle))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	}()
)

func renderForbidden() []byte {
	var b bytes.Buffer
	t := template.Must(template.New("forbidden").Parse(forbiddenPage))
	if err := t.Execute(&b, template.CSS(forbiddenStyle)); err != nil { //nolint:gosec // our own file
		panic(err) // constant
	}
	return b.Bytes()
}

// Forbidden answers that nobody has been authenticated, and what to do about
// it. It shows no data and does not depend on the request.
func Forbidden(w http.ResponseWriter, r *http.Request) {
	newCall(w, r)
	hd := w.Header()
	hd.Set("Content-Security-Policy", forbiddenPolicy)
	hd.Set("Cache-Control", "no-store")
	hd.Set("Content-Type", "text/html; charset=utf-8")
	hd.Set("Content-Length", strconv.Itoa(len(forbiddenHTML)))
	w.WriteHeader(http.StatusForbidden)
	if r.Method != http.MethodHead {
		// Whoever has gone needs no answer.
		_, _ = w.Write(forbiddenHTML)
	}
}

// ForbiddenHint is the explanation in one line, for logs.
var ForbiddenHint = strings.Join([]string{
	"nobody is authenticated: put basic_auth in front of capture_dashboard,",
	"or write capture_dashboard { open } if something else keeps others out",
}, " ")
