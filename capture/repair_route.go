package capture

import (
	"strings"

	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// lookup tells what the route makes of a parameter's name, given what was
// found so far.
func (rt *Route) lookup(f *found) lookup {
	return func(name string) (wanted, lacking bool) {
		for _, t := range f.targets(name) {
			wanted = true
			lacking = lacking || rt.lacks(f, t.param)
		}
		return wanted, lacking
	}
}

// lacks tells whether nothing was found for a parameter, nor for any field
// that it could be.
func (rt *Route) lacks(f *found, param int) bool {
	if f.values[param].value != "" {
		return false
	}
	given := func(params fieldParams) bool {
		for _, choices := range params {
			for _, n := range choices {
				if n == param && f.first(choices) != "" {
					return true
				}
			}
		}
		return false
	}
	if given(rt.fields) {
		return false
	}
	for i := range rt.kinds {
		if given(rt.kinds[i].fields) {
			return false
		}
	}
	return true
}

// mendedToken returns the token that the query holds once it is put right, and
// whether it needed that.
func (rt *Route) mendedToken(raw Raw, f *found) (token string, ok bool) {
	_, query, _ := strings.Cut(raw.URI, "?")
	query, notes := repairQuery(query, rt.lookup(f))
	if len(notes) == 0 {
		return "", false
	}
	again := rt.match.found()
	again.collectForm(query, fromQuery)
	return again.first(rt.token), true
}

// mendForms reads query and form again if they can be put right, and notes
// what was done. It comes after everything else was read, for what is given
// plainly is never overridden.
func (rt *Route) mendForms(p *Postback, f *found) {
	path, query, _ := strings.Cut(p.Raw.URI, "?")
	if p.Raw.Unsigned&signature.PartQuery != 0 {
		query = ""
	}
	form := len(rt.decoders) == 0 && p.Raw.Unsigned&signature.PartBody == 0 &&
		kindOf(p.Raw.ContentType, p.Raw.Body) == formBody && mangled(string(p.Raw.Body))
	if !form && !mangled(query) {
		return
	}
	look, raw := rt.lookup(f), p.Raw
	query, notes := repairQuery(query, look)
	raw.URI = path + "?" + query
	if form {
		body, more := repairQuery(string(raw.Body), look)
		raw.Body, notes = []byte(body), append(notes, more...)
	}
	if len(notes) == 0 {
		return
	}
	again := rt.collectHead(raw)
	if err := rt.collectBody(again, raw); err != nil {
		return // the form's other fields may hold what cannot be read
	}
	*f = *again
	p.Notes = append(p.Notes, notes...)
}
