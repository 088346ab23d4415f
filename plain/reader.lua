-- A Pandoc reader for the executed book: JSON in, one document out. It joins the chapters and
-- settles what reaches across them: ids, references, links, pictures, contents.

local elements = dofile(pandoc.path.join {
  pandoc.path.directory(PANDOC_SCRIPT_FILE), 'elements.lua' })
local report, targets, number_span = elements.report, elements.targets, elements.number_span
local used = {} -- every id on the page
local book      -- what the JSON holds

local function resolve_path(chapter, source)
  if source:sub(1, #book.pictures) == book.pictures then return source end
  local folder = source:sub(1, 1) == '/' and '' or pandoc.path.directory(chapter.path) .. '/'
  local path = pandoc.path.normalize(book.root .. '/' .. folder .. source)
  return (path:gsub('[^/]+/%.%./', ''))
end

-- Where a picture lies, as `file:/…`, which the build replaces by its content.
local function locate(chapter, source)
  if source:match '^%a+:' then return source end
  local path = resolve_path(chapter, source)
  local file = io.open(path, 'rb')
  if file then
    file:close()
    return 'file:' .. path
  end
  report(chapter, 'picture ' .. source .. ' is missing; make it or mend the path')
  return source
end

-- One page, so ids that repeat from chapter to chapter ("what-to-remember") get its name.
local function claim(chapter, el)
  local id = el.identifier
  if id == '' or id == 'refs' then return nil end
  local new = used[id] and chapter.stem .. '-' .. id or id
  used[new], chapter.ids[id], el.identifier = true, new, new
  return el
end

local function on_image(chapter, image)
  claim(chapter, image)
  image.src = locate(chapter, image.src)
  local alt = image.attributes['fig-alt']
  if alt then image.caption = { pandoc.Str(alt) } end
  image.attributes['fig-alt'], image.title = nil, ''
  image.attributes.decoding = 'async'
  return image
end

-- Takes the chapter's title off its blocks: the front matter's, or the first heading.
local function take_title(title, blocks)
  if title then return pandoc.Header(1, title) end
  for i, block in ipairs(blocks) do
    if block.t == 'Header' and block.level == 1 then return blocks:remove(i) end
  end
end

local counts = { [true] = 0, [false] = 0 } -- of appendices and of chapters
local function chapter_number(chapter, header)
  if not header or header.classes:includes 'unnumbered' or chapter.path == 'index.qmd' then
    return nil
  end
  local count = counts[chapter.appendix] + 1
  counts[chapter.appendix] = count
  return chapter.appendix and string.char(64 + count) or tostring(count)
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
    report(chapter, said:gsub(' at line %d+ column %d+', '') .. '; mend the Markdown')
  end
  for _, key in ipairs { 'execute', 'format' } do
    if doc.meta[key] then report(chapter, key .. ' above its text; set it in _quarto.yml') end
  end
  local header = take_title(doc.meta.title, doc.blocks)
  chapter.number = chapter_number(chapter, header)
  local blocks = elements.number(chapter, doc.blocks)
  header = header or pandoc.Header(1, book.title, { class = 'unseen' })
  if header.identifier == '' then header.identifier = chapter.stem end
  chapter.name = header.content:clone()
  if elements.kind_of(header.identifier) == 'sec' then
    local word = chapter.number and (chapter.appendix and 'Appendix' or 'Chapter')
    local number = chapter.number or pandoc.utils.stringify(header.content)
    elements.register(chapter, header.identifier, word, number)
  end
  header.level = 2
  if chapter.number then
    header.content = { number_span(chapter.number), pandoc.Space() } .. header.content
  end
  blocks:insert(1, header)
  if chapter.part ~= '' then
    blocks:insert(1, pandoc.Div(pandoc.Plain(chapter.part), { class = 'part-title' }))
  end
  local function claim_here(el) return claim(chapter, el) end
  chapter.header = header
  chapter.blocks = blocks:walk {
    Header = claim_here, Div = claim_here, Span = claim_here, CodeBlock = claim_here,
    Figure = claim_here, Table = claim_here, Link = claim_here,
    Image = function(image) return on_image(chapter, image) end,
  }
  chapter.anchor = '#' .. (chapter.ids[header.identifier] or header.identifier)
end

-- `@fig-x` and its kin; literature is left to citeproc.
local function on_cite(chapter, cite)
  local out = pandoc.Inlines {}
  for i, citation in ipairs(cite.citations) do
    local id = citation.id:gsub('^%u', string.lower)
    local target = targets[id]
    if not elements.kind_of(id) then
      if #book.bibliography > 0 then return nil end
      report(chapter, '@' .. id .. ' is cited, but _quarto.yml names no bibliography; add it')
      return nil
    elseif not target then
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
  if number then text:extend { number_span(number), pandoc.Space() } end
  text:insert(pandoc.Span(title)) -- wraps as a block beside its number
  return pandoc.Plain { pandoc.Link(text, '#' .. id) }
end

-- The list in the sidebar: chapters under their parts, and the sections of each chapter.
local function contents()
  local list, part = pandoc.Blocks {}, nil
  for _, chapter in ipairs(book.chapters) do
    if chapter.part ~= part then
      if chapter.part ~= '' then
        list:insert(pandoc.Div(pandoc.Plain(chapter.part), { class = 'contents-part' }))
      end
      list:insert(pandoc.BulletList {})
      part = chapter.part
    end
    local item = pandoc.Blocks { entry(chapter, chapter.header, chapter.number, chapter.name) }
    if #chapter.contents > 0 then
      item:insert(pandoc.BulletList(chapter.contents:map(function(section)
        return { entry(chapter, section.header, section.number, section.title) }
      end)))
    end
    list[#list].content:insert(item)
  end
  return list
end

function Reader(input)
  book = pandoc.json.decode(tostring(input), false)
  for _, chapter in ipairs(book.chapters) do read_chapter(chapter) end
  local body = pandoc.Blocks {}
  for _, chapter in ipairs(book.chapters) do
    local blocks = chapter.blocks:walk {
      Cite = function(cite) return on_cite(chapter, cite) end,
      Link = function(link) return on_link(chapter, link) end,
    }
    body:insert(pandoc.Div(blocks, { class = 'section chapter' })) -- notes end with the section
  end
  if #elements.problems > 0 then
    io.stderr:write(table.concat(elements.problems, '\n'), '\n')
    os.exit(1)
  end
  return pandoc.Pandoc(body, {
    title = book.title, subtitle = book.subtitle, pagetitle = book.title, lang = book.lang,
    author = book.author, date = book.date, digest = book.digest, contents = contents(),
  })
end
