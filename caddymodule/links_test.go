package caddymodule

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What our pages of text link to in this tree, and the images in them, have to be there.

var (
	fencedCode = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	fileLinks  = []*regexp.Regexp{
		regexp.MustCompile(`\]\(\s*<?([^\s<>)]+)`),                         // [text](path "title"), ![text](path)
		regexp.MustCompile(`(?m)^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)`),         // [name]: path
		regexp.MustCompile(`(?i)<[a-z][^<>]*\s(?:href|src)="([^"<>]+)"`),   // HTML
		regexp.MustCompile(`(?i)<[a-z][^<>]*\ssrcset="([^"<>\s,]+)[^"]*"`), // pictures that follow the theme
	}
	linkScheme = regexp.MustCompile(`^(?:[a-zA-Z][a-zA-Z0-9+.-]*:|//)`)
)

// linkedFiles returns the paths in a text to which it links, without those in examples of code.
func linkedFiles(text string) []string {
	text = fencedCode.ReplaceAllString(text, "")
	var paths []string
	for _, pattern := range fileLinks {
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			path, _, _ := strings.Cut(m[1], "#")
			path, _, _ = strings.Cut(path, "?")
			if path == "" || linkScheme.MatchString(m[1]) {
				continue
			}
			if plain, err := url.PathUnescape(path); err == nil {
				path = plain
			}
			paths = append(paths, path)
		}
	}
	return paths
}

func TestLinkedFiles(t *testing.T) {
	t.Parallel()
	text := "[a](a.md) ![b\nc](images/b%20c.png \"title\") [`d`](../d.go#L3) [here](#there) [web](https://example.com/x.md)\n" +
		"[mail](mailto:a@example.com) [[e](e.md)](f.md)\n\n[name]: g.md\n<img alt=\"h\" src=\"h.svg\"><a href='no'>\n" +
		"<source media=\"dark\" srcset=\"i.svg 2x, j.svg\">\n\n```md\n[no](no.md)\n```\n[k](<k.md>)\n  ```sh\n  [no](no.md)\n  ```\n"
	got := linkedFiles(text)
	slices.Sort(got)
	want := []string{"../d.go", "a.md", "e.md", "f.md", "g.md", "h.svg", "i.svg", "images/b c.png", "k.md"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range linkedFiles(string(text)) {
			found++
			target := filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
			if inTree, err := filepath.Rel("..", target); err != nil || !filepath.IsLocal(inTree) || strings.HasPrefix(path, "/") {
				t.Errorf("%s links to %s, which is not in this tree", page, path)
			} else if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, path, err)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d links were found", found)
	}
}
