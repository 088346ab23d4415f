-- A Pandoc reader for the executed book: JSON in, one document out. It joins the chapters and
-- settles what reaches across them: ids, references, links, pictures, contents.

local elements = dofile(pandoc.path.join {
  pandoc.path.directory(PANDOC_SCRIPT_FILE), 'elements.lua' })
local report, escape, raw, targets = elements.report, elements.escape, elements.raw, elements.targets
local used = {} -- every id on the page
local book      -- what the JSON holds

local function resolve_path(chapter, source)
  if source:sub(1, #book.pictures) == book.pictures then return source end
  local folder = source:sub(1, 1) == '/' and '' or pandoc.path.directory(chapter.path) .. '/'
  return pandoc.path.normalize(book.root .. '/' .. folder .. source)
end

-- Where a picture lies, as `file:/…`, which the build replaces by its content.
local function locate(chapter, source)
  if source:match '^%a+:' then return source end
  local path = resolve_path(chapter, source)
  local file = io.open(path, 'rb')
  if not file then
    report(chapter, 'picture ' .. source .. ' is missing; make it or mend the path')
    return source
  end
  file:close()
  return 'file:' .. path
end

local function on_image(chapter, image)
  image.src = locate(chapter, image.src)
  local alt = image.attributes['fig-alt']
  if alt then image.caption = { pandoc.Str(alt) } end
  image.attributes['fig-alt'], image.title = nil, ''
  image.attributes.decoding = 'async'
  return image
end

local function on_raw(chapter, el)
  if el.format:match '^html' then
    el.text = el.text:gsub('(<%a[^>]-%ssrc=")([^"]+)"', function(before, source)
      return before .. escape(locate(chapter, source)) .. '"'
    end)
    return el
  end
end

-- One page, so ids that repeat from chapter to chapter ("what-to-remember") get its name.
local function claim(chapter, el)
  local id = el.identifier
  if id == '' or id == 'refs' then return nil end
  local new = id
  if used[new] then new = chapter.stem .. '-' .. id end
  used[new], chapter.ids[id], el.identifier = true, new, new
  return el
end

-- Takes the chapter's title off its blocks: the front matter's, or the first heading.
local function take_title(title, blocks)
  if title then return pandoc.Header(1, title) end
  for i, block in ipairs(blocks) do
    if block.t == 'Header' and block.level == 1 then
      blocks:remove(i)
      return block
    end
  end
end

local chapter_count = 0
local function chapter_number(chapter, header)
  if not header or header.classes:includes 'unnumbered' or chapter.path == 'index.qmd' then
    return nil
  end
  chapter_count = chapter_count + 1
  return tostring(chapter_count)
end

local function read_chapter(chapter)
  chapter.counts, chapter.sections, chapter.ids = {}, {}, {}
  chapter.contents = pandoc.List {}
  chapter.stem = pandoc.path.split_extension(pandoc.path.filename(chapter.path))
  local read, warnings, doc = pcall(pandoc.log.silence, pandoc.read, chapter.text, 'markdown')
  if not read then
    report(chapter, 'bad YAML above its text; check quotes and indents')
    warnings, doc = {}, pandoc.Pandoc {}
  end
  for _, warning in ipairs(warnings) do
    -- The lines are those of the executed text, not of the file: leave them out.
    local said = pandoc.json.decode(pandoc.json.encode(warning)).pretty
    said = said:gsub(' at line %d+ column %d+', '')
    report(chapter, said .. '; mend the Markdown')
  end
  for _, key in ipairs { 'execute', 'format' } do
    if doc.meta[key] then report(chapter, key .. ' above its text; set it in _quarto.yml') end
  end
  local blocks = elements.prepare(doc.blocks)
  local header = take_title(doc.meta.title, blocks)
  chapter.number = chapter_number(chapter, header)
  blocks = elements.number(chapter, blocks)
  header = header or pandoc.Header(1, book.title, { class = 'unseen' })
  if header.identifier == '' then header.identifier = chapter.stem end
  chapter.name = header.content:clone()
  if elements.kind_of(header.identifier) == 'sec' then
    local word = chapter.number and 'Chapter'
    local number = chapter.number or pandoc.utils.stringify(header.content)
    elements.register(chapter, header.identifier, word, number)
  end
  header.level = 2
  if chapter.number then
    header.content:insert(1, pandoc.Span(chapter.number, { class = 'number' }))
    header.content:insert(2, pandoc.Space())
  end
  blocks:insert(1, header)
  if chapter.part ~= '' then
    blocks:insert(1, raw('<p class="part">' .. escape(chapter.part) .. '</p>'))
  end
  local function claim_here(el) return claim(chapter, el) end
  chapter.header = header
  chapter.blocks = blocks:walk {
    Header = claim_here, Div = claim_here, Span = claim_here, CodeBlock = claim_here,
    Figure = claim_here, Table = claim_here, Link = claim_here,
    Image = function(image) claim(chapter, image); return on_image(chapter, image) end,
    RawBlock = function(el) return on_raw(chapter, el) end,
    RawInline = function(el) return on_raw(chapter, el) end,
  }
  chapter.anchor = '#' .. (chapter.ids[header.identifier] or header.identifier)
end

-- `@fig-x` and its kin; literature is left to citeproc.
local function on_cite(chapter, cite)
  local out = pandoc.Inlines {}
  for i, citation in ipairs(cite.citations) do
    local id = citation.id:gsub('^%u', string.lower)
    if not elements.kind_of(id) then
      if not book.cites then
        report(chapter, '@' .. id .. ' is cited, but _quarto.yml names no bibliography; add it')
      end
      return nil
    end
    local target = targets[id]
    if not target then
      report(chapter, '@' .. id .. ' is no label of this book; mend the reference or add the label')
      return nil
    end
    if i > 1 then out:extend { pandoc.Str ',', pandoc.Space() } end
    local text = pandoc.Inlines { pandoc.Str(target.number) }
    if #citation.prefix > 0 then
      text = citation.prefix:clone() .. { pandoc.Str '\u{a0}' } .. text
    elseif citation.mode ~= 'SuppressAuthor' and target.word then
      text = pandoc.Inlines { pandoc.Str(target.word .. '\u{a0}' .. target.number) }
    end
    out:insert(pandoc.Link(text, '#' .. id, '', { class = 'reference' }))
    out:extend(citation.suffix)
  end
  return out
end

local function on_link(chapter, link)
  local target = link.target
  if link.classes:includes 'reference' or target:match '^%a[%a%d+.-]*:' then return nil end
  local path, id = target:match '^([^#]*)#?(.*)$'
  local other = chapter
  if path ~= '' then
    local full = resolve_path(chapter, path)
    other = pandoc.List(book.chapters):find_if(function(c)
      return resolve_path({ path = '' }, '/' .. c.path) == full
    end)
  elseif not chapter.ids[id] then -- as in Quarto, a label is found in any chapter
    other = pandoc.List(book.chapters):find_if(function(c) return c.ids[id] end)
  end
  if not other or id ~= '' and not other.ids[id] then
    report(chapter, 'link to ' .. target .. ' leads nowhere; link to a chapter, a heading or the web')
    return nil
  end
  link.target = id == '' and other.anchor or '#' .. other.ids[id]
  return link
end

local function entry(chapter, header, number, title)
  local id = chapter.ids[header.identifier] or header.identifier
  local text = pandoc.Inlines {}
  if number then text:extend { pandoc.Span(number, { class = 'number' }), pandoc.Space() } end
  text:insert(pandoc.Span(title)) -- wraps as a block beside its number
  return pandoc.Plain { pandoc.Link(text, '#' .. id) }
end

-- The list in the sidebar: parts, chapters, and the sections of each chapter.
local function contents()
  local list, part, inner = pandoc.List {}, '', nil
  for _, chapter in ipairs(book.chapters) do
    local item = pandoc.Blocks { entry(chapter, chapter.header, chapter.number, chapter.name) }
    local sections = chapter.contents:map(function(section)
      return { entry(chapter, section.header, section.number, section.title) }
    end)
    if #sections > 0 then item:insert(pandoc.BulletList(sections)) end
    if chapter.part ~= part and chapter.part ~= '' then
      inner = pandoc.List {}
      list:insert { title = chapter.part, items = inner }
    elseif chapter.part == '' then
      inner = list
    end
    part = chapter.part
    inner:insert(item)
  end
  return pandoc.BulletList(list:map(function(item)
    if not item.items then return item end
    local title = pandoc.Div(pandoc.Plain(item.title), { class = 'contents-part' })
    return pandoc.Blocks { title, pandoc.BulletList(item.items) }
  end))
end

-- What a chapter with computations was written as.
local function source(chapter)
  return raw('<details class="source"><summary>Source of this chapter</summary><pre><code>'
    .. escape(chapter.source) .. '</code></pre></details>')
end

local function pager(before, after)
  local function link(chapter, class, word)
    if not chapter then return '' end
    return '<a class="' .. class .. '" href="' .. chapter.anchor .. '"><small>' .. word
      .. '</small> ' .. escape(pandoc.utils.stringify(chapter.name)) .. '</a>'
  end
  return raw('<div class="pager">' .. link(before, 'previous', 'Previous')
    .. link(after, 'next', 'Next') .. '</div>')
end

function Reader(input)
  book = pandoc.json.decode(tostring(input), false)
  for _, chapter in ipairs(book.chapters) do read_chapter(chapter) end
  local body = pandoc.Blocks {}
  for i, chapter in ipairs(book.chapters) do
    local blocks = chapter.blocks:walk {
      Cite = function(cite) return on_cite(chapter, cite) end,
      Link = function(link) return on_link(chapter, link) end,
    }
    body:insert(pandoc.Div(blocks, { class = 'section chapter' })) -- notes end with the section
    if (chapter.source or ''):match '{python}' then body:insert(source(chapter)) end
    body:insert(pager(book.chapters[i - 1], book.chapters[i + 1]))
  end
  if #elements.problems > 0 then
    io.stderr:write(table.concat(elements.problems, '\n'), '\n')
    os.exit(1)
  end
  return pandoc.Pandoc(body, {
    title = book.title, subtitle = book.subtitle, pagetitle = book.title, lang = book.lang,
    contents = pandoc.Blocks { contents() },
  })
end
