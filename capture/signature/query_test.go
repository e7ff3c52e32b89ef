package signature

import "testing"

func TestTarget(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string][2]string{
		"/a%2Fb?x=%20&y": {"/a%2Fb", "x=%20&y"}, "/": {"/", ""}, "/?": {"/", ""}, "/a??b": {"/a", "?b"},
		"http://example.com": {"/", ""}, "http://example.com?x": {"/", "x"}, "https://example.com:1/p?x": {"/p", "x"},
	} {
		m := newMessage("GET", "https://example.com/", "", now)
		m.Request.RequestURI = uri
		path, query, _ := target(m.Request)
		if path != want[0] || query != want[1] {
			t.Errorf("%s is %q and %q, want %q", uri, path, query, want)
		}
	}
	m := newMessage("GET", "https://example.com/p?x=1", "", now)
	m.Request.RequestURI = "" // a request that was made here
	if path, query, has := target(m.Request); path != "/p" || query != "x=1" || !has {
		t.Errorf("without RequestURI: %q, %q", path, query)
	}
}

func TestQueryForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ query, without, sent, sorted string }{
		{"b=2&sig=x&a=1", "sig", "b=2&a=1", "a=1&b=2"},
		{"b=2&SIG=x&a=1", "sig", "b=2&a=1", "a=1&b=2"},
		{"%73ig=x&a=1", "sig", "a=1", "a=1"},
		{"b=2&a=1", "", "b=2&a=1", "a=1&b=2"},
		{"a=2&a=1&B=3&&_=", "", "a=2&a=1&B=3&&_=", "B=3&_=&a=2&a=1"},
		{"a.b=1&a=2", "", "a.b=1&a=2", "a=2&a.b=1"}, // by names, not by name=value
		{"%62=1&a=%zz&c", "", "%62=1&a=%zz&c", "a=%zz&%62=1&c"},
		{"", "sig", "", ""},
	} {
		sent := withoutParameter(c.query, c.without)
		if sorted := sortedQuery(sent); sent != c.sent || sorted != c.sorted {
			t.Errorf("%q: sent %q, sorted %q; want %q and %q", c.query, sent, sorted, c.sent, c.sorted)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	m := newMessage("POST", "https://example.com/p%20q?b=2&a=1&s=x", "BODY", now)
	m.Request.Header["X-Two"] = []string{" one ", "two"}
	all := []hole{holeBody, holeTimestamp, holeID, holeMethod, holePath, holeQuery, holeQuerySorted, holeHeader, holeField}
	for text, want := range map[string]string{
		"{body}": "BODY", "{timestamp}.{id}": "TIME.ID", "{method} {path}": "POST /p%20q",
		"{query}|{query_sorted}": "b=2&a=1|a=1&b=2", "{header.x-two}{header.none}{header.Host}": "one, twoexample.com",
		"{http.request.header.X-Two}": "one, two", "{field.a}{field.zz}": "1",
		`\{body\}\\\n\t\r`: "{body}\\\n\t\r", "plain": "plain",
	} {
		parsed, err := parseTemplate(text, "", all...)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(parsed.fill(m, filling{timestamp: "TIME", id: "ID", without: "s"})); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
	if _, err := parseTemplate("", ""); err == nil {
		t.Error("an empty template was taken")
	}
}
