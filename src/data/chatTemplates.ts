import { TierraError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import type { ChatMessage, ChatRole } from './chatMessages.ts';

/** A stretch of text of one conversation; the loss counts only the trained ones. Each is tokenized by itself. */
export interface ChatSegment {
  readonly text: string;
  readonly trained: boolean;
}

export type ChatTemplate = (messages: readonly ChatMessage[]) => ChatSegment[];

/** Header and text around one message; `opening` comes once, before the first. The turn's end marker is trained with it. */
interface TurnShape {
  readonly opening: string;
  readonly before: (role: ChatRole) => string;
  readonly content: (text: string) => string;
  readonly end: string;
  readonly after: string;
}

const shapes = {
  /** ChatML (OpenAI; Qwen and others). */
  chatml: {
    opening: '',
    before: (role) => `<|im_start|>${role}\n`,
    content: (text) => text,
    end: '<|im_end|>',
    after: '\n',
  },
  /** Llama 3's instruction format, without its dated system preamble. */
  llama3: {
    opening: '<|begin_of_text|>',
    before: (role) => `<|start_header_id|>${role === 'tool' ? 'ipython' : role}<|end_header_id|>\n\n`,
    content: (text) => text.trim(),
    end: '<|eot_id|>',
    after: '',
  },
  /** `User: ...` lines, for vocabularies without special tokens. */
  plain: {
    opening: '',
    before: (role) => `${role[0]!.toUpperCase()}${role.slice(1)}:`,
    content: (text) => ` ${text}`,
    end: '\n',
    after: '',
  },
} as const satisfies Record<string, TurnShape>;

export type ChatTemplateName = keyof typeof shapes;

export const chatTemplateNames = Object.keys(shapes) as readonly ChatTemplateName[];

/** The template by name. @throws E_DATA for an unknown one. */
export function chatTemplate(name: string): ChatTemplate {
  if (!Object.hasOwn(shapes, name)) {
    const near = nearest(name, chatTemplateNames);
    throw new TierraError('E_DATA', `chat template ${JSON.stringify(name)} is not known`, {
      hint: `${near === undefined ? '' : `Did you mean ${near}? `}Templates: ${chatTemplateNames.join(', ')}.`,
    });
  }
  const shape: TurnShape = shapes[name as ChatTemplateName];
  return (messages) =>
    messages.flatMap((message, index): ChatSegment[] => {
      const header = (index === 0 ? shape.opening : '') + shape.before(message.role);
      const body = shape.content(message.content) + shape.end;
      const trained = message.role === 'assistant';
      return [
        { text: header, trained: false },
        { text: body, trained },
        ...(shape.after === '' ? [] : [{ text: shape.after, trained: false }]),
      ];
    });
}

/** The prompt that asks the model for the assistant's next turn. */
export function chatPrompt(name: string, messages: readonly ChatMessage[]): string {
  const segments = chatTemplate(name)(messages);
  const shape: TurnShape = shapes[name as ChatTemplateName];
  return (
    (segments.length === 0 ? shape.opening : segments.map(({ text }) => text).join('')) + shape.before('assistant')
  );
}
